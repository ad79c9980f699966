import type { MiddlewareHandler } from 'hono';
import { refusalOfBrowserRequest } from '../../platform/browser-requests.js';
import { MillraceError } from '../../platform/errors.js';
import { sendProblem } from '../problems.js';

/** Prevents web pages of other sites from using an API without keys through a local user's browser. */
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
