import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { listen, type ListenOptions } from '../platform/listen.js';

export interface RunningServer {
  /** The port it listens on; the one asked for unless that was 0. */
  readonly port: number;
  /** Accepts no more requests, lets running ones finish, and resolves when the port is free. */
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
    // A connection that becomes idle after close() would otherwise be awaited until its keep-alive time is
    // over.
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
