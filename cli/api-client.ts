import { isErrorCode } from '../platform/error-codes.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import { withoutCredentials } from '../platform/secrets.js';
import type { Config } from '../platform/config.js';
import { readEndpoints } from '../app/endpoints.js';

/** The HTTP API as commands use it. */
export interface ApiClient {
  /** Address of the API, without a slash at the end. */
  url: string;
  /**
   * Sends a request; its path begins with a slash. Only answers of the 2xx range come back.
   *
   * @throws MillraceError `API_UNREACHABLE` (retriable), or with the code and the text of the problem that was answered
   *   (retriable when it is 429 or 503).
   */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** The JSON that a request is answered with. @throws as `request`. */
  json<Answer>(path: string, init?: RequestInit): Promise<Answer>;
}

/**
 * A client of `MILLRACE_URL`; unset, of the system that runs on `DATA_DIR`, else of this machine's `PORT`. Sends
 * `MILLRACE_API_KEY`, if it is set.
 */
export async function createApiClient(config: Config): Promise<ApiClient> {
  const known = config.MILLRACE_URL ?? (await readEndpoints(config.DATA_DIR))?.http;
  // `fetch` takes no address with a password, and names the whole of it in its error.
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
        `${url} does not answer: ${reason}. Start it with \`npm start\`, or set MILLRACE_URL to where it is.`,
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

async function problemOf(response: Response, path: string): Promise<MillraceError> {
  const text = await response.text();
  const retriable = response.status === 429 || response.status === 503;
  try {
    const { code, detail } = JSON.parse(text) as { code: string; detail: string };
    // A newer API may have codes that are not known here.
    return new MillraceError(isErrorCode(code) ? code : 'API_ANSWER', detail, { retriable });
  } catch {
    const answer = text.slice(0, 200);
    return new MillraceError(
      'API_ANSWER',
      `${path} was answered with ${response.status}, and no problem details: ${answer}`,
      { retriable },
    );
  }
}
