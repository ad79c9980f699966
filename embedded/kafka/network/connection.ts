import type { Socket } from 'node:net';
import { messageOf } from '../../../platform/errors.js';
import { apiVersions, encodeUnsupportedApiVersions } from '../apis/18-api-versions.js';
import { produce } from '../apis/00-produce.js';
import { ConnectionRefused } from '../protocol/api.js';
import type { Api, RequestContext, RequestGate } from '../protocol/api.js';
import { Reader } from '../protocol/reader.js';
import { Writer } from '../protocol/writer.js';
import type { Services } from '../services.js';
import { Frames } from './frames.js';
import type { Interceptors } from './interceptors.js';

export interface ConnectionLimits {
  /** A longer frame closes the connection. Default 32 MiB. */
  maxFrameBytes: number;
  /** Produce requests of one connection that are worked on at once. Default 16. */
  maxInFlight: number;
}

/** While so many answer bytes wait for a slow client, its next request waits too. */
const maxUnsentBytes = 1024 * 1024;
/** Further Produce requests wait while those being worked on are larger than this. */
const maxInFlightBytes = 8 * 1024 * 1024;

interface Request {
  api: Api;
  version: number;
  correlationId: number;
  clientId: string;
  reader: Reader;
}

/**
 * One client connection. Requests are answered in their order. Like Apache Kafka it works on one at a time; only
 * Produce requests in a row overlap, so that a pipelining producer shares the group commit. Anything that is not
 * protocol closes the connection, with the reason in the log.
 */
export class Connection {
  private readonly socket: Socket;
  private readonly services: Services;
  private readonly apis: ReadonlyMap<number, Api>;
  private readonly interceptors: Interceptors;
  private readonly limits: ConnectionLimits;
  private readonly frames: Frames;
  private readonly closed = new AbortController();
  private readonly client: string;
  private readonly backlog: Buffer[] = [];
  private inFlight = 0;
  private inFlightBytes = 0;
  private onlyProduceInFlight = true;
  private lastAnswer: Promise<void> = Promise.resolve();

  constructor(
    socket: Socket,
    services: Services,
    apis: ReadonlyMap<number, Api>,
    interceptors: Interceptors,
    limits: ConnectionLimits,
  ) {
    this.socket = socket;
    this.services = services;
    this.apis = apis;
    this.interceptors = interceptors;
    this.limits = limits;
    this.frames = new Frames(limits.maxFrameBytes);
    this.client = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('drain', () => this.work());
    socket.on('error', (error) =>
      this.services.logger.debug({ err: error, client: this.client }, 'A Kafka connection broke'),
    );
    socket.on('close', () => this.closed.abort());
  }

  /** Ends the connection without a further answer. */
  close(reason?: string): void {
    if (reason !== undefined && !this.socket.destroyed) {
      this.services.logger.warn({ client: this.client, reason }, 'Closed a Kafka connection');
    }
    this.backlog.length = 0;
    this.socket.destroy();
  }

  private receive(chunk: Buffer): void {
    try {
      this.backlog.push(...this.frames.push(chunk));
    } catch (error) {
      this.close(messageOf(error));
      return;
    }
    this.work();
  }

  private work(): void {
    while (this.backlog.length > 0 && this.inFlight < this.limits.maxInFlight && !this.socket.destroyed) {
      if (this.socket.writableLength > maxUnsentBytes) break;
      const isProduce = this.backlog[0]?.readInt16BE(0) === produce.key;
      const mayOverlap = isProduce && this.onlyProduceInFlight && this.inFlightBytes < maxInFlightBytes;
      if (this.inFlight > 0 && !mayOverlap) break;
      const frame = this.backlog.shift();
      if (frame !== undefined) this.start(frame, isProduce);
    }
    if (this.backlog.length > 0) this.socket.pause();
    else this.socket.resume();
  }

  private start(frame: Buffer, isProduce: boolean): void {
    this.inFlight++;
    this.inFlightBytes += frame.length;
    this.onlyProduceInFlight = isProduce;
    try {
      const request = this.decodeHeader(frame);
      const answer = request === undefined ? undefined : this.serve(request);
      if (answer === undefined) return;
      // Collected in order, though they may be ready in another.
      this.lastAnswer = Promise.all([answer, this.lastAnswer]).then(
        ([writer]) => this.finish(writer, frame.length),
        (error: unknown) => this.close(messageOf(error)),
      );
    } catch (error) {
      this.close(messageOf(error));
    }
  }

  private decodeHeader(frame: Buffer): Request | undefined {
    const reader = new Reader(frame);
    const key = reader.int16();
    const version = reader.int16();
    const correlationId = reader.int32();
    const api = this.apis.get(key);
    if (api === undefined) {
      this.close(`API key ${key} is not served`);
      return undefined;
    }
    if (version < api.minVersion || version > api.maxVersion) {
      if (api === apiVersions && version > api.maxVersion)
        this.finish(this.unsupportedVersions(correlationId), frame.length);
      else
        this.close(
          `${api.name} version ${version} is not served (${api.minVersion} to ${api.maxVersion} are)`,
        );
      return undefined;
    }
    const clientId = reader.headerString() ?? '';
    reader.flexible = version >= api.flexibleFrom;
    reader.tags();
    return { api, version, correlationId, clientId, reader };
  }

  private async serve(request: Request): Promise<Writer | undefined> {
    const { api, version, correlationId, clientId, reader } = request;
    const context: RequestContext = {
      services: this.services,
      version,
      clientId,
      clientHost: plainAddress(this.socket.remoteAddress),
      localHost: plainAddress(this.socket.localAddress),
      localPort: this.socket.localPort ?? 0,
      closed: this.closed.signal,
    };
    const { gate, dropAnswer } = this.gateFor(request);
    const encode = await api.serve(reader, context, gate);
    if (dropAnswer()) throw new ConnectionRefused('an interceptor dropped the answer');
    if (encode === undefined) return undefined;
    const writer = new Writer();
    writer.int32(0);
    writer.int32(correlationId);
    writer.flexible = version >= api.flexibleFrom;
    // ApiVersions answers with the oldest response header, so that any client can read it.
    if (api !== apiVersions) writer.tags();
    encode(writer);
    return writer;
  }

  private gateFor({ api, version, correlationId, clientId }: Request): {
    gate: RequestGate | undefined;
    dropAnswer: () => boolean;
  } {
    if (!this.interceptors.has(api.key)) return { gate: undefined, dropAnswer: () => false };
    let dropAnswer = false;
    const gate: RequestGate = async (body) => {
      const verdict = await this.interceptors.judge({
        apiKey: api.key,
        version,
        correlationId,
        clientId,
        body,
      });
      if (verdict === 'drop') throw new ConnectionRefused('an interceptor dropped the connection');
      if (verdict === 'drop-answer') dropAnswer = true;
      return typeof verdict === 'object' ? verdict.errorCode : undefined;
    };
    return { gate, dropAnswer: () => dropAnswer };
  }

  private finish(writer: Writer | undefined, frameBytes: number): void {
    this.inFlight--;
    this.inFlightBytes -= frameBytes;
    if (writer !== undefined && !this.socket.destroyed) {
      const { chunks, length } = writer.finish();
      chunks[0]?.writeInt32BE(length - 4, 0);
      this.socket.cork();
      for (const chunk of chunks) this.socket.write(chunk);
      this.socket.uncork();
    }
    this.work();
  }

  private unsupportedVersions(correlationId: number): Writer {
    const writer = new Writer();
    writer.int32(0);
    writer.int32(correlationId);
    encodeUnsupportedApiVersions(writer);
    return writer;
  }
}

/** IPv4 addresses without the prefix they have on a dual-stack socket. */
function plainAddress(address: string | undefined): string {
  return address?.replace(/^::ffff:/, '') ?? '';
}
