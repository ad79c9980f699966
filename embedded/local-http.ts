import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { listen, type ListenOptions } from '../platform/listen.js';

export interface RunningServer {
  /** The port it listens on; the one asked for unless that was 0. */
  readonly port: number;
  /** Takes no more requests, lets running ones finish, and resolves when the port is free. */
  stop: () => Promise<void>;
}

/**
 * Starts to listen.
 *
 * @throws MillraceError `PORT_IN_USE`, `LISTEN_FAILED`.
 */
export async function serve(server: Server, options: ListenOptions): Promise<RunningServer> {
  const port = await listen(server, options);
  let stopping = false;
  server.on('request', (_: IncomingMessage, response: ServerResponse) => {
    // A connection that becomes idle after close() would be waited for until its keep-alive time is over.
    response.once('close', () => setImmediate(() => stopping && server.closeIdleConnections()));
  });
  const stop = async () => {
    stopping = true;
    const closed = once(server, 'close');
    server.close();
    await closed;
  };
  return { port, stop };
}

/**
 * Why a request must not be served by a server without authentication, or `undefined` when it may.
 *
 * Any web page can make the browser of someone who runs Millrace send requests to localhost. Two ways are closed: a
 * page of another site (the browser says so in `Origin` or `Sec-Fetch-Site`), and a name that an attacker points to
 * 127.0.0.1 (`Host` then has that name). Programs send none of these headers but `Host`, and are not concerned. With
 * a listening address other than loopback any `Host` is accepted, since it may rightly have any name.
 */
export function refusalOfBrowserRequest(
  headers: IncomingHttpHeaders,
  listeningHost: string,
): string | undefined {
  const { host = '', origin } = headers;
  if (isLoopback(listeningHost) && host !== '' && !isLoopback(hostnameOf(`http://${host}`))) {
    return `This server is for this machine only, and does not answer to the name ${host}.`;
  }
  const crossOrigin = origin !== undefined && origin !== `http://${host}` && !isLoopback(hostnameOf(origin));
  if (crossOrigin || headers['sec-fetch-site'] === 'cross-site')
    return 'Requests from other web sites are refused.';
  return undefined;
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(hostname);
}

function hostnameOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname : '';
}
