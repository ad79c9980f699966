import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { listen as openPort } from '../../../platform/listen.js';

export interface Address {
  host: string;
  port: number;
}

/**
 * Listens; `accept` is called for every connection.
 *
 * @throws MillraceError `PORT_IN_USE`, or `LISTEN_FAILED` for any other reason.
 */
export async function listen(
  { host, port }: Address,
  maxConnections: number,
  accept: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ noDelay: true, keepAlive: true }, accept);
  server.maxConnections = maxConnections;
  return { server, port: await openPort(server, { host, port, name: 'Kafka API', setting: 'KAFKA_PORT' }) };
}
