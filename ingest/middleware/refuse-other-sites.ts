import type { MiddlewareHandler } from 'hono';
import { refusalOfBrowserRequest } from '../../platform/browser-requests.js';
import { MillraceError } from '../../platform/errors.js';
import { sendProblem } from '../problems.js';

/** Keeps web pages of others from using, through the browser of someone here, an API that asks for no keys. */
export function refuseOtherSites(listeningHost: string): MiddlewareHandler {
  return async (c, next) => {
    const refusal = refusalOfBrowserRequest(c.req.header(), listeningHost);
    if (refusal === undefined) return next();
    return sendProblem(
      c,
      new MillraceError('FORBIDDEN', `${refusal} Set API_KEYS if it is to be used from there.`),
    );
  };
}
