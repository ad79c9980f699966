import type { MiddlewareHandler } from 'hono';
import { refusalOfBrowserRequest } from '../../platform/browser-requests.js';
import { MillraceError } from '../../platform/errors.js';
import { requestHeaders } from '../node-http.js';
import { sendProblem } from '../problems.js';

/** Prevents web pages of other sites from using an API without keys through a local user's browser. */
export function refuseOtherSites(listeningHost: string): MiddlewareHandler {
  return (c, next) => {
    const refusal = refusalOfBrowserRequest(requestHeaders(c), listeningHost);
    if (refusal === undefined) return next();
    const problem = `${refusal} Set API_KEYS if it is to be used from there.`;
    return Promise.resolve(sendProblem(c, new MillraceError('FORBIDDEN', problem)));
  };
}
