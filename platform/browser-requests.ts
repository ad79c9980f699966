import type { IncomingHttpHeaders } from 'node:http';

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
  const crossOrigin = origin !== undefined && !isOf(origin, host) && !isLoopback(hostnameOf(origin));
  if (crossOrigin || headers['sec-fetch-site'] === 'cross-site')
    return 'Requests from other web sites are refused.';
  return undefined;
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(hostname);
}

/** Whichever scheme: a proxy in front may end TLS. */
function isOf(origin: string, host: string): boolean {
  return origin === `http://${host}` || origin === `https://${host}`;
}

function hostnameOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname : '';
}
