import type { Server, ServerResponse } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';
import { listen } from '../platform/listen.js';

/** A listening HTTP server. */
export interface HttpServer {
  port: number;
  /** Answers with another app from the next request on. */
  use(app: Hono): void;
  /** Takes no more connections, lets requests under way end for `graceMs` (default 5,000), then cuts what is left. */
  stop(graceMs?: number): Promise<void>;
}

/** Answers are for programs; a route that answers with a page has its own instead. What answers tell is nobody else's. */
const securityHeaders = [
  ['x-content-type-options', 'nosniff'],
  ['x-frame-options', 'DENY'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cache-control', 'no-store'],
] as const;

/**
 * Serves an app. Resolves when the port is open.
 *
 * @param port - 0 takes a free one.
 * @param headersTimeoutMs - how long a client may take to send a request's headers; about so long a connection is kept that says nothing.
 * @throws MillraceError `PORT_IN_USE` or `LISTEN_FAILED`.
 */
export async function serveHttp(
  app: Hono,
  host: string,
  port: number,
  { headersTimeoutMs = 10_000 }: { headersTimeoutMs?: number } = {},
): Promise<HttpServer> {
  let current = app;
  const server = createAdaptorServer({
    fetch: (request, environment) => current.fetch(request, environment),
    serverOptions: {
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: headersTimeoutMs / 4,
      requireHostHeader: true,
    },
  }) as Server;
  const responses = new Set<ServerResponse>();
  server.prependListener('request', (_request, response) => {
    for (const [name, value] of securityHeaders) response.setHeader(name, value);
    responses.add(response);
    response.once('close', () => responses.delete(response));
  });
  const openPort = await listen(server, { host, port, name: 'HTTP API', setting: 'PORT' });
  return {
    port: openPort,
    use: (next) => void (current = next),
    stop: (graceMs = 5_000) => stop(server, responses, graceMs),
  };
}

async function stop(server: Server, responses: ReadonlySet<ServerResponse>, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // Or a client that keeps its connection busy would be served until the grace is over.
  const closeAfter = (response: ServerResponse): void => {
    if (!response.headersSent) response.setHeader('connection', 'close');
  };
  for (const response of responses) closeAfter(response);
  server.prependListener('request', (_request, response) => closeAfter(response));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}
