import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';
import { listen } from '../platform/listen.js';

/** A listening HTTP server. */
export interface HttpServer {
  port: number;
  /** Takes no more connections, lets requests under way end for `graceMs`, then cuts what is left. */
  stop(graceMs?: number): Promise<void>;
}

/**
 * Serves an app. Resolves when the port is open.
 *
 * @param port - 0 takes a free one.
 * @throws MillraceError `PORT_IN_USE` or `LISTEN_FAILED`.
 */
export async function serveHttp(app: Hono, host: string, port: number): Promise<HttpServer> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const openPort = await listen(server, { host, port, name: 'HTTP API', setting: 'PORT' });
  return { port: openPort, stop: (graceMs = 10_000) => stop(server, graceMs) };
}

async function stop(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}
