import type { IncomingHttpHeaders } from 'node:http';

/**
 * Returns why a request must not be served by a server without authentication, or `undefined` when it may.
 *
 * Any web page can make a local user's browser send requests to localhost. Two attacks are blocked: a page of
 * another site or of another port (which `Origin` or `Sec-Fetch-Site` reveals), and an attacker's host name
 * that resolves to 127.0.0.1 (which `Host` contains). Programs send none of these headers but `Host`, and are
 * not affected. With a listening address other than loopback any `Host` is accepted, since it may have any
 * name.
 */
export function refusalOfBrowserRequest(
  headers: IncomingHttpHeaders,
  listeningHost: string,
): string | undefined {
  const { host = '', origin } = headers;
  if (isLoopback(listeningHost) && host !== '' && !isLocalHost(host)) {
    return `This server is for this machine only, and does not answer to the name ${host}.`;
  }
  const site = headers['sec-fetch-site'];
  // Without an Origin, as for an image: another port of one machine is the same site to a browser.
  const isOther = origin === undefined ? site === 'cross-site' || site === 'same-site' : !isOwn(origin, host);
  if (isOther) return 'Requests from other web sites and ports are refused.';
  return undefined;
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(hostname);
}

/** Compares hosts with any scheme: a proxy in front may end TLS. All names of this machine are equal. */
function isOwn(origin: string, host: string): boolean {
  if (origin === `http://${host}` || origin === `https://${host}`) return true;
  const [page, own] = [origin, `http://${host}`].map((url) => (URL.canParse(url) ? new URL(url) : undefined));
  if (page === undefined || own === undefined) return false;
  return page.port === own.port && isLoopback(page.hostname) && isLoopback(own.hostname);
}

/** The last host and whether it is this machine: nearly all requests name the same. */
let last = { host: '', isLocal: false };

function isLocalHost(host: string): boolean {
  if (host !== last.host) {
    const url = `http://${host}`;
    last = { host, isLocal: isLoopback(URL.canParse(url) ? new URL(url).hostname : '') };
  }
  return last.isLocal;
}
