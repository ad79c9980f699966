import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';

/**
 * How a registry fails: with an error, with a web server's page for unknown paths, with no answer, or with a
 * cut connection.
 */
export const registryTroubles = ['status 500', 'status 503', 'page 404', 'hangs', 'cuts'] as const;
export type RegistryTrouble = (typeof registryTroubles)[number];

/** A proxy of the schema registry that makes it fail for its clients. */
export class RegistryProxy {
  /** None: requests are forwarded. */
  trouble: RegistryTrouble | undefined;
  /** Requests that failed. */
  failed = 0;
  readonly #target: number;
  readonly #server: Server;
  readonly #hanging = new Set<ServerResponse>();

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((incoming, answer) => this.#handle(incoming, answer));
  }

  static async start({ port, target }: { port: number; target: number }): Promise<RegistryProxy> {
    const proxy = new RegistryProxy(target);
    proxy.#server.listen(port, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** Forwards requests again. Hanging ones are cut, so that clients retry. */
  heal(): void {
    this.trouble = undefined;
    for (const answer of this.#hanging) answer.destroy();
    this.#hanging.clear();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #handle(incoming: IncomingMessage, answer: ServerResponse): void {
    if (this.trouble !== undefined) {
      this.failed++;
      incoming.resume();
      this.#fail(this.trouble, answer);
      return;
    }
    const { method, url, headers } = incoming;
    const onward = request(
      { host: '127.0.0.1', port: this.#target, method, path: url, headers },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      },
    );
    onward.on('error', () => answer.destroy());
    incoming.pipe(onward);
  }

  #fail(trouble: RegistryTrouble, answer: ServerResponse): void {
    switch (trouble) {
      case 'status 500':
        answer.writeHead(500, json).end('{"error_code":50001,"message":"Error in the backend data store"}');
        break;
      case 'status 503':
        answer.writeHead(503, { 'content-type': 'text/html' }).end('<h1>Service Unavailable</h1>');
        break;
      case 'page 404':
        answer.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not Found</h1>');
        break;
      case 'hangs':
        this.#hanging.add(answer);
        break;
      case 'cuts':
        answer.destroy();
        break;
    }
  }
}

const json = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
