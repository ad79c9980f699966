import { isErrorCode } from '../platform/error-codes.js';
import { isSystemError, MillraceError, messageOf } from '../platform/errors.js';
import { withoutCredentials } from '../platform/secrets.js';
import type { Config } from '../platform/config.js';
import { readEndpoints } from '../app/endpoints.js';

/** Client of the HTTP API, for the commands. */
export interface ApiClient {
  /** Base URL, without a trailing slash. */
  url: string;
  /**
   * Sends a request. `path` starts with a slash. Resolves only for 2xx responses.
   *
   * @throws MillraceError `API_UNREACHABLE` (retriable), or with the code and the text of the returned
   *   problem (retriable for 429 and 503).
   */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** Returns the JSON body of the response. @throws as `request`. */
  json<Answer>(path: string, init?: RequestInit): Promise<Answer>;
}

/**
 * Creates a client for `MILLRACE_URL`. If it is unset, uses the system that runs on `DATA_DIR`, then
 * localhost:`PORT`. Sends `MILLRACE_API_KEY` if it is set.
 */
export async function createApiClient(config: Config): Promise<ApiClient> {
  const known = config.MILLRACE_URL ?? (await readEndpoints(config.DATA_DIR))?.http;
  // `fetch` rejects a URL with a password, and its error would show the password.
  const url = withoutCredentials(known ?? `http://localhost:${config.PORT}`).replace(/\/+$/, '');
  const key = config.MILLRACE_API_KEY;
  const request = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (key !== undefined) headers.set('x-api-key', key);
    let response: Response;
    try {
      response = await fetch(url + path, { ...init, headers });
    } catch (error) {
      const reason = messageOf(error instanceof Error ? (error.cause ?? error) : error);
      throw new MillraceError(
        'API_UNREACHABLE',
        `${url} does not answer: ${reason}. Start it with \`npm start\`, or set MILLRACE_URL to its address.`,
        { cause: error },
      );
    }
    if (!response.ok) throw await problemOf(response, path);
    return response;
  };
  return {
    url,
    request,
    json: async <Answer>(path: string, init?: RequestInit) =>
      (await (await request(path, init)).json()) as Answer,
  };
}

/**
 * Whether a request failed with `API_UNREACHABLE` before there was a connection, so that no server got it.
 */
export function isUnconnected(error: unknown): boolean {
  const failure =
    error instanceof MillraceError && error.code === 'API_UNREACHABLE' ? error.cause : undefined;
  return (
    failure instanceof Error &&
    isSystemError(failure.cause, 'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH')
  );
}

async function problemOf(response: Response, path: string): Promise<MillraceError> {
  const text = await response.text();
  const retriable = response.status === 429 || response.status === 503;
  try {
    const { code, detail } = JSON.parse(text) as { code: string; detail: string };
    // A newer API may return codes that this version does not know.
    return new MillraceError(isErrorCode(code) ? code : 'API_ANSWER', detail, { retriable });
  } catch {
    const answer = text.slice(0, 200);
    return new MillraceError(
      'API_ANSWER',
      `${path} returned ${response.status} without problem details: ${answer}`,
      { retriable },
    );
  }
}
