import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { MillraceError, messageOf } from '../../../platform/errors.js';
import { listen as openPort } from '../../../platform/listen.js';
import type { Logger } from '../../../platform/logger.js';

export interface ListenOptions {
  host: string;
  port: number;
  portSetting: string;
  maxConnections: number;
  /** Default: no TLS. */
  tls?: TlsCertificate | undefined;
  logger: Logger;
}

/** The server's certificate chain and private key, in PEM. */
export interface TlsCertificate {
  cert: string;
  key: string;
}

const handshakeTimeoutMs = 10_000;

/**
 * Listens, with TLS (1.2 or newer) when there is a certificate; `accept` is called for every connection.
 *
 * @throws MillraceError `PORT_IN_USE`, `TLS_CERTIFICATE_UNUSABLE`, or `LISTEN_FAILED` for any other reason.
 */
export async function listen(
  { host, port, portSetting: setting, maxConnections, tls, logger }: ListenOptions,
  accept: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = tls === undefined ? createServer(socketOptions, accept) : createWithTls(tls, accept, logger);
  server.maxConnections = maxConnections;
  return { server, port: await openPort(server, { host, port, name: 'Kafka API', setting }) };
}

const socketOptions = { noDelay: true, keepAlive: true };

function createWithTls(
  { cert, key }: TlsCertificate,
  accept: (socket: Socket) => void,
  logger: Logger,
): Server {
  const options = {
    ...socketOptions,
    cert,
    key,
    minVersion: 'TLSv1.2',
    handshakeTimeout: handshakeTimeoutMs,
  } as const;
  try {
    const server = createTlsServer(options, accept);
    server.on('tlsClientError', (error, { remoteAddress }) => {
      logger.warn(
        { client: remoteAddress, reason: error.message },
        'Closed a Kafka connection: no TLS handshake',
      );
    });
    return server;
  } catch (error) {
    throw new MillraceError(
      'TLS_CERTIFICATE_UNUSABLE',
      `The Kafka API cannot use its TLS certificate or key: ${messageOf(error)}. Give both in PEM, and make sure that they belong together.`,
      { cause: error },
    );
  }
}
