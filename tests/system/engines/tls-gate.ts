import { once } from 'node:events';
import { request as forward } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { IssuedCertificate } from './certificates.js';

export interface TlsGateOptions {
  /** Target of the requests, over plain HTTP. */
  upstream: string;
  server: IssuedCertificate;
  /** Clients need a certificate of this authority. */
  clientCa: string;
  user: string;
  password: string;
  /** Answer to a missing or wrong password, as the engine behind would give it. */
  refusal: { status: number; headers?: Record<string, string>; body: string };
}

/** An HTTPS server with users in front of an engine without either. */
export class TlsGate {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(options: TlsGateOptions): Promise<TlsGate> {
    const { upstream, server: certificate, clientCa, user, password, refusal } = options;
    const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const tls = { ...certificate, ca: clientCa, requestCert: true, rejectUnauthorized: true };
    const server = createServer(tls, (incoming, answer) => {
      if (incoming.headers.authorization !== expected) {
        incoming.resume();
        answer.writeHead(refusal.status, refusal.headers).end(refusal.body);
        return;
      }
      const { authorization: _, ...headers } = incoming.headers;
      const { host } = new URL(upstream);
      const onwardOptions = { method: incoming.method, headers: { ...headers, host } };
      const onward = forward(upstream + (incoming.url ?? '/'), onwardOptions, (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      });
      onward.on('error', () => answer.destroy());
      incoming.pipe(onward);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TlsGate(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Serves new connections with another certificate. */
  present(certificate: IssuedCertificate, clientCa: string): void {
    this.#server.setSecureContext({ ...certificate, ca: clientCa });
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}
