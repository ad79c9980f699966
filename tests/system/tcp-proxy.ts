import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A proxy between a client and a server that makes the server unavailable, or hang, for this client only. */
export class TcpProxy {
  readonly #port: number;
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #hanging = false;

  constructor({ port, target }: { port: number; target: number }) {
    this.#port = port;
    this.#target = target;
  }

  /** Forwards connections. */
  async open(): Promise<void> {
    this.#hanging = false;
    this.#server = createServer((socket) => this.#join(socket)).listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** Cuts all connections and refuses new ones. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve) ?? resolve(undefined));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#server = undefined;
  }

  /** Cuts all connections; accepts new ones and forwards nothing. */
  hang(): void {
    this.#hanging = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client: Socket): void {
    this.#keep(client);
    if (this.#hanging) return;
    const server = connect(this.#target, '127.0.0.1');
    this.#keep(server);
    client.pipe(server).pipe(client);
    client.once('close', () => server.destroy());
    server.once('close', () => client.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket)).on('error', () => socket.destroy());
  }
}
