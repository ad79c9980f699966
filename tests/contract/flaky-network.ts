import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { ISocketFactory } from 'kafkajs';

/** API keys of the requests that tests disturb. */
export const apiKeys = {
  produce: 0,
  fetch: 1,
  heartbeat: 12,
  addPartitionsToTxn: 24,
  txnOffsetCommit: 28,
  endTxn: 26,
  initProducerId: 22,
} as const;

/** The network between kafkajs and the broker, for tests that break it. */
export class FlakyNetwork {
  readonly #sockets = new Set<Socket>();
  readonly #faults: { apiKey: number; kind: 'request' | 'answer' }[] = [];
  #down = false;
  /** Requests seen, by API key. */
  readonly requests = new Map<number, number>();

  /** Ends all connections and refuses new ones until `restore()`. */
  cut(): void {
    this.#down = true;
    for (const socket of this.#sockets) reset(socket);
  }

  restore(): void {
    this.#down = false;
  }

  /** The next request of this kind never arrives; its connection ends. */
  loseRequest(apiKey: number): void {
    this.#faults.push({ apiKey, kind: 'request' });
  }

  /** The next request of this kind arrives, its answer does not; its connection ends. */
  loseAnswer(apiKey: number): void {
    this.#faults.push({ apiKey, kind: 'answer' });
  }

  /** Number of connections that are open or about to open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Faults that have not happened yet. */
  get pendingFaults(): number {
    return this.#faults.length;
  }

  readonly socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
    // A port without a listener represents an unavailable broker.
    const socket = connect({ host, port: this.#down ? 1 : port });
    socket.setNoDelay(true);
    socket.once('connect', onConnect);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const write = socket.write.bind(socket);
    socket.write = (data: Buffer, ...rest: []): boolean => {
      // kafkajs writes a request in one piece: size (4 bytes), then the API key.
      const apiKey = data.length >= 6 ? data.readInt16BE(4) : -1;
      this.requests.set(apiKey, (this.requests.get(apiKey) ?? 0) + 1);
      const index = this.#faults.findIndex((fault) => fault.apiKey === apiKey);
      const [fault] = index === -1 ? [] : this.#faults.splice(index, 1);
      if (fault?.kind === 'request') {
        reset(socket);
        return false;
      }
      if (fault?.kind === 'answer') {
        socket.removeAllListeners('data');
        socket.once('data', () => reset(socket));
      }
      return write(data, ...rest);
    };
    return socket;
  };
}

/** As when the other side is killed. (kafkajs does not notice when its own end is closed.) */
function reset(socket: Socket): void {
  socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
}
