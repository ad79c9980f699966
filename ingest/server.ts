import type { Server, ServerResponse } from 'node:http';
import { serve } from '@hono/node-server';
import type { Hono } from 'hono';
import { MillraceError, messageOf } from '../platform/errors.js';

/** A listening HTTP server. */
export interface HttpServer {
  port: number;
  /** Takes no more connections, lets requests under way end for `graceMs` (default 5,000), then cuts what is left. */
  stop(graceMs?: number): Promise<void>;
}

/**
 * Listens. Resolves when the port is open.
 *
 * @param port - 0 takes a free one.
 * @throws MillraceError `PORT_IN_USE` or `LISTEN_FAILED`.
 */
export function listen(app: Hono, host: string, port: number): Promise<HttpServer> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: host, port, autoCleanupIncoming: true }, (address) =>
      resolve({ port: address.port, stop: (graceMs = 5_000) => stop(server, responses, graceMs) }),
    ) as Server;
    const responses = new Set<ServerResponse>();
    server.prependListener('request', (_request, response) => {
      responses.add(response);
      response.once('close', () => responses.delete(response));
    });
    server.once('error', (error: NodeJS.ErrnoException) => {
      const inUse = error.code === 'EADDRINUSE';
      const message = inUse
        ? `Port ${port} on ${host} is in use. Stop what listens there, or set PORT to another port.`
        : `Cannot listen on ${host}:${port}: ${messageOf(error)}.`;
      reject(new MillraceError(inUse ? 'PORT_IN_USE' : 'LISTEN_FAILED', message, { cause: error }));
    });
  });
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
