import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { MillraceError } from '../../../platform/errors.js';

export interface Address {
  host: string;
  port: number;
}

/**
 * Listens; `accept` is called for every connection.
 *
 * @throws MillraceError `PORT_IN_USE`, or `CANNOT_LISTEN` for any other reason.
 */
export async function listen(
  { host, port }: Address,
  maxConnections: number,
  accept: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ noDelay: true, keepAlive: true }, accept);
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explain(error, host, port)));
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : port };
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): MillraceError {
  if (error.code === 'EADDRINUSE') {
    return new MillraceError(
      'PORT_IN_USE',
      `Port ${port} on ${host} is in use: stop what listens there, or choose another port for the Kafka API.`,
    );
  }
  return new MillraceError(
    'CANNOT_LISTEN',
    `The Kafka API cannot listen on ${host}:${port}: ${error.message}.`,
    { cause: error },
  );
}
