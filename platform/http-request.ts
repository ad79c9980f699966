import { type IncomingHttpHeaders, request as overHttp } from 'node:http';
import { type Agent, request as overHttps } from 'node:https';

export interface HttpRequest {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** For HTTPS with certificates of one's own, which `fetch` can't have. */
  agent?: Agent | undefined;
  /** Of the whole request, milliseconds. */
  timeoutMs: number;
  /** Most that is read of an answer, bytes. */
  maxBytes: number;
}

/** Sends a request and reads the whole answer. Redirects are not followed. @throws what the connection fails with. */
export function httpRequest(
  url: string,
  { method = 'GET', headers = {}, body, agent, timeoutMs, maxBytes }: HttpRequest,
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  const signal = AbortSignal.timeout(timeoutMs);
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const options = { method, headers: { ...headers, ...length }, signal };
  return new Promise((resolve, reject) => {
    const request = url.startsWith('https:')
      ? overHttps(url, { ...options, ...(agent === undefined ? {} : { agent }) })
      : overHttp(url, options);
    const fail = (error: Error): void =>
      reject(signal.aborted ? new Error(`no answer in ${timeoutMs} ms`, { cause: error }) : error);
    request.on('error', fail);
    request.on('response', (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('error', fail);
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > maxBytes) request.destroy(new Error(`the answer has more than ${maxBytes} bytes`));
        else parts.push(part);
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(parts).toString(),
        }),
      );
    });
    request.end(body);
  });
}
