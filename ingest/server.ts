import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { Hono } from 'hono';
import { MillraceError, messageOf } from '../platform/errors.js';

/** A listening HTTP server. */
export interface HttpServer {
  port: number;
  /** Takes no more connections, lets requests under way end for `graceMs`, then cuts what is left. */
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
      resolve({ port: address.port, stop: (graceMs = 10_000) => stop(server, graceMs) }),
    ) as Server;
    server.once('error', (error: NodeJS.ErrnoException) => {
      const inUse = error.code === 'EADDRINUSE';
      const message = inUse
        ? `Port ${port} is in use.`
        : `Cannot listen on ${host}:${port}: ${messageOf(error)}.`;
      reject(new MillraceError(inUse ? 'PORT_IN_USE' : 'LISTEN_FAILED', message, { cause: error }));
    });
  });
}

async function stop(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}
