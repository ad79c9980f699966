import type { Server } from 'node:net';
import { MillraceError, messageOf } from './errors.js';

export interface ListenOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  name: string;
  setting: string;
}

/**
 * Opens a server's port.
 *
 * @param name - of the server, and `setting`, the variable with its port: for the error.
 * @returns the port: the one asked for, unless that was 0.
 * @throws MillraceError `PORT_IN_USE`, `LISTEN_FAILED`.
 */
export async function listen(server: Server, { host, port, name, setting }: ListenOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const inUse = cause.code === 'EADDRINUSE';
      const message = inUse
        ? `Port ${port} on ${host} is in use, so the ${name} can't listen there. Stop what uses it, or set ${setting} to another port.`
        : `The ${name} can't listen on ${host}:${port}: ${messageOf(cause)}.`;
      reject(new MillraceError(inUse ? 'PORT_IN_USE' : 'LISTEN_FAILED', message, { cause }));
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}
