import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';

/** How a registry fails: answers with an error, with a page that some web server has for unknown paths, not at all, or cuts. */
export const registryTroubles = ['status 500', 'status 503', 'page 404', 'hangs', 'cuts'] as const;
export type RegistryTrouble = (typeof registryTroubles)[number];

/** Stands before the schema registry and lets it fail for those who come through here. */
export class RegistryProxy {
  /** None: everything goes through. */
  trouble: RegistryTrouble | undefined;
  /** Requests that met with trouble. */
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

  /** Lets requests through again, also those that hang: they are cut, to be made anew. */
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
