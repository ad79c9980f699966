import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Reader } from '../../embedded/kafka/protocol/reader.js';
import { Writer } from '../../embedded/kafka/protocol/writer.js';
import { apiKeys } from './flaky-network.js';

const metadata = 3;
const leaderNotAvailable = 5;

/** One of the two brokers. */
export interface Front {
  /** Cuts its connections and refuses new ones. */
  cut(): void;
  /** Accepts requests and forwards none; connections stay open. */
  hang(): void;
  /** Forwards requests to write, and ends the connection before the answer. */
  loseAnswers(): void;
  restore(): void;
  /** Requests to write that were forwarded. */
  readonly produced: number;
}

/**
 * Two addresses of one broker, which clients see as two brokers: in the metadata, the first leads even
 * partitions, the second odd ones. Each can fail alone.
 */
export class TwoBrokers {
  /** Leaders of partitions (`topic/number`) that differ: 1 is the first broker, 2 the second, −1 none. */
  readonly leaders = new Map<string, 1 | 2 | -1>();
  /** Partitions (`topic/number`) of which the brokers do not know yet. */
  readonly unknown = new Set<string>();
  readonly first: Front & { port: number };
  readonly second: Front & { port: number };
  readonly #fronts: BrokerFront[];

  private constructor(fronts: [BrokerFront, BrokerFront]) {
    this.#fronts = fronts;
    [this.first, this.second] = fronts;
    for (const front of fronts) front.rewrite = (answer) => this.#rewriteMetadata(answer);
  }

  /** @param target - port of the broker behind both. */
  static async start(target: number): Promise<TwoBrokers> {
    const fronts: [BrokerFront, BrokerFront] = [new BrokerFront(target), new BrokerFront(target)];
    for (const front of fronts) await front.start();
    return new TwoBrokers(fronts);
  }

  get brokers(): string[] {
    return this.#fronts.map(({ port }) => `127.0.0.1:${port}`);
  }

  async stop(): Promise<void> {
    for (const front of this.#fronts) await front.stop();
  }

  /** Version 6, which kafkajs requests; it differs from 5 in nothing on the wire. */
  #rewriteMetadata(answer: Buffer): Buffer {
    const reader = new Reader(answer);
    const writer = new Writer();
    writer.int32(reader.int32());
    writer.int32(reader.int32());
    reader.array(() => [reader.int32(), reader.string(), reader.int32(), reader.nullableString()]);
    writer.array(this.#fronts, (front) => {
      writer.int32(this.#fronts.indexOf(front) + 1);
      writer.string('127.0.0.1');
      writer.int32(front.port);
      writer.nullableString(null);
    });
    writer.nullableString(reader.nullableString());
    reader.int32();
    writer.int32(1);
    const topics = reader.array(() => ({
      errorCode: reader.int16(),
      name: reader.string(),
      isInternal: reader.boolean(),
      partitions: reader.array(() => {
        const [, partition] = [reader.int16(), reader.int32(), reader.int32()];
        for (let list = 0; list < 3; list++) reader.array(() => reader.int32());
        return partition ?? 0;
      }),
    }));
    writer.array(topics, ({ errorCode, name, isInternal, partitions }) => {
      writer.int16(errorCode);
      writer.string(name);
      writer.boolean(isInternal);
      const known = partitions.filter((partition) => !this.unknown.has(`${name}/${partition}`));
      writer.array(known, (partition) => {
        const leader = this.leaders.get(`${name}/${partition}`) ?? 1 + (partition % 2);
        writer.int16(leader < 0 ? leaderNotAvailable : 0);
        writer.int32(partition);
        writer.int32(leader);
        writer.array([1, 2], (replica) => writer.int32(replica));
        writer.array([1, 2], (replica) => writer.int32(replica));
        writer.array([], () => undefined);
      });
    });
    return Buffer.concat(writer.finish().chunks);
  }
}

class BrokerFront implements Front {
  produced = 0;
  rewrite: (answer: Buffer) => Buffer = (answer) => answer;
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((client) => this.#join(client));
  #mode: 'open' | 'cut' | 'hang' | 'lose-answers' = 'open';

  constructor(target: number) {
    this.#target = target;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' ? (address?.port ?? 0) : 0;
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  cut(): void {
    this.#mode = 'cut';
    for (const socket of this.#sockets) socket.destroy();
  }

  hang(): void {
    this.#mode = 'hang';
  }

  loseAnswers(): void {
    this.#mode = 'lose-answers';
  }

  restore(): void {
    this.#mode = 'open';
  }

  #join(client: Socket): void {
    this.#keep(client);
    if (this.#mode === 'cut') {
      client.destroy();
      return;
    }
    const server = connect(this.#target, '127.0.0.1');
    this.#keep(server);
    client.once('close', () => server.destroy());
    server.once('close', () => client.destroy());
    /** Requests by their correlation id. */
    const asked = new Map<number, number>();
    onFrames(client, (frame) => {
      if (this.#mode === 'hang') return;
      const apiKey = frame.readInt16BE(0);
      asked.set(frame.readInt32BE(4), apiKey);
      if (apiKey === apiKeys.produce) this.produced++;
      server.write(framed(frame));
    });
    onFrames(server, (frame) => {
      const apiKey = asked.get(frame.readInt32BE(0));
      if (this.#mode === 'hang') return;
      if (this.#mode === 'lose-answers' && apiKey === apiKeys.produce) client.destroy();
      else client.write(framed(apiKey === metadata ? this.rewrite(frame) : frame));
    });
  }

  #keep(socket: Socket): void {
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket)).on('error', () => socket.destroy());
  }
}

function onFrames(socket: Socket, handle: (frame: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0);
      handle(rest.subarray(4, end));
      rest = rest.subarray(end);
    }
  });
}

function framed(frame: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeInt32BE(frame.length);
  return Buffer.concat([size, frame]);
}
