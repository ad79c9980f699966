import type { Socket } from 'node:net';
import { messageOf } from '../../../platform/errors.js';
import type { Logger } from '../../../platform/logger.js';
import { produce } from '../apis/00-produce.js';
import type { Clock } from '../clock.js';
import type { Writer } from '../protocol/writer.js';
import { Authentication } from '../security/authentication.js';
import type { Sasl } from '../security/authentication.js';
import type { Dispatcher } from './dispatcher.js';
import { Frames } from './frames.js';
import type { MemoryBudget } from './memory-budget.js';

export interface ConnectionLimits {
  /** A longer frame closes the connection. Default 32 MiB. */
  maxFrameBytes: number;
  /** Maximum concurrent Produce requests of one connection. Default 16. */
  maxInFlight: number;
  /** An idle connection is closed after this time, in milliseconds. Default 10 minutes, as in Kafka. */
  idleTimeoutMs: number;
  /**
   * Time limit of a partial frame and of a login, in milliseconds; also of sending an answer when memory for
   * answers is short. Default 30 s.
   */
  stallTimeoutMs: number;
}

/** State that all connections share. */
export interface ConnectionEnvironment {
  dispatcher: Dispatcher;
  limits: ConnectionLimits;
  /** `undefined`: no login. */
  sasl: Sasl | undefined;
  /** Of requests: frames that arrive, wait or are processed. */
  requestMemory: MemoryBudget;
  /** Of unread answers. */
  answerMemory: MemoryBudget;
  clock: Clock;
  logger: Logger;
}

/** Maximum unread answer bytes of a client before its next request waits. */
const maxUnsentBytes = 1024 * 1024;
/** Maximum bytes of concurrent Produce requests before further ones wait. */
const maxInFlightBytes = 2 * 1024 * 1024;
/** Enough for any login, and too little for an attack. */
const maxFrameBytesBeforeLogin = 64 * 1024;

/**
 * One client connection. Requests are answered in their order. Like Apache Kafka it processes one at a time;
 * only consecutive Produce requests overlap, so that a pipelining producer shares the group commit. Invalid
 * input closes the connection, with the reason in the log.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #environment: ConnectionEnvironment;
  readonly #authentication: Authentication;
  readonly #frames: Frames;
  readonly #closed = new AbortController();
  readonly #client: string;
  readonly #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #inFlight = 0;
  #inFlightBytes = 0;
  #onlyProduceInFlight = true;
  #lastAnswer: Promise<void> = Promise.resolve();
  /** Reserved request memory: the bytes here, and the declared rest of a partial frame. */
  #heldBytes = 0;
  #reservedBytes = 0;
  #unsentBytes = 0;
  readonly #openedAt: number;
  #lastActivityAt: number;
  #frameBegunAt: number | undefined;
  #unsentSince: number | undefined;
  readonly #work = (): void => this.#startRequests();

  constructor(socket: Socket, environment: ConnectionEnvironment) {
    this.#socket = socket;
    this.#environment = environment;
    this.#authentication = new Authentication(environment.sasl);
    const { maxFrameBytes } = environment.limits;
    this.#frames = new Frames(
      this.#authentication.done ? maxFrameBytes : Math.min(maxFrameBytes, maxFrameBytesBeforeLogin),
    );
    this.#openedAt = this.#lastActivityAt = environment.clock.now();
    this.#client = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', this.#work);
    socket.on('error', (error) =>
      environment.logger.debug({ err: error, client: this.#client }, 'A Kafka connection broke'),
    );
    socket.on('close', () => this.#releaseAll());
  }

  /** Ends the connection without a further answer. */
  close(reason?: string): void {
    if (reason !== undefined && !this.#socket.destroyed) {
      this.#environment.logger.warn({ client: this.#client, reason }, 'Closed a Kafka connection');
    }
    this.#dropBacklog();
    this.#socket.destroy();
  }

  /** Closes the connection of a stalled client. Called periodically. */
  closeIfStalled(now: number): void {
    const { idleTimeoutMs, stallTimeoutMs } = this.#environment.limits;
    const stalled = (since: number | undefined): boolean =>
      since !== undefined && now - since > stallTimeoutMs;
    if (!this.#authentication.done && stalled(this.#openedAt)) this.close('it has not logged in in time');
    else if (stalled(this.#frameBegunAt)) this.close('a request has begun and not ended in time');
    else if (this.#environment.answerMemory.exhausted && stalled(this.#unsentSince)) {
      this.close('it does not take its answers, and others need the memory');
    } else if (now - this.#lastActivityAt > idleTimeoutMs) this.close('it was idle');
  }

  #receive(chunk: Buffer): void {
    if (this.#authentication.hasFailed) return;
    this.#lastActivityAt = this.#environment.clock.now();
    try {
      for (const frame of this.#frames.push(chunk)) {
        this.#backlog.push(frame);
        this.#backlogBytes += frame.length;
      }
    } catch (error) {
      this.close(messageOf(error));
      return;
    }
    this.#startRequests();
  }

  #startRequests(): void {
    while (this.#backlog.length > 0 && this.#inFlight < this.#environment.limits.maxInFlight) {
      if (this.#socket.destroyed || this.#socket.writableLength > maxUnsentBytes) break;
      const isProduce = isProduceRequest(this.#backlog[0]);
      const mayOverlap = isProduce && this.#onlyProduceInFlight && this.#inFlightBytes < maxInFlightBytes;
      if (this.#inFlight > 0 && !mayOverlap) break;
      const frame = this.#backlog.shift();
      if (frame === undefined) break;
      this.#backlogBytes -= frame.length;
      this.#start(frame, isProduce);
    }
    this.#regulate();
  }

  #start(frame: Buffer, isProduce: boolean): void {
    this.#inFlight++;
    this.#inFlightBytes += frame.length;
    this.#onlyProduceInFlight = isProduce;
    const answer = this.#environment.dispatcher.answer(frame, {
      socket: this.#socket,
      authentication: this.#authentication,
      closed: this.#closed.signal,
    });
    // Collected in order, though they may complete out of order.
    this.#lastAnswer = Promise.all([answer, this.#lastAnswer]).then(
      ([writer]) => this.#finish(writer, frame.length),
      (error: unknown) => this.close(messageOf(error)),
    );
  }

  #finish(writer: Writer | undefined, frameBytes: number): void {
    this.#inFlight--;
    this.#inFlightBytes -= frameBytes;
    if (writer !== undefined && !this.#socket.destroyed) this.#send(writer);
    if (this.#authentication.hasFailed) {
      this.#environment.logger.warn(
        { client: this.#client, reason: 'it failed to log in' },
        'Closed a Kafka connection',
      );
      this.#dropBacklog();
      this.#socket.destroySoon();
      return;
    }
    if (this.#authentication.done) this.#frames.maxFrameBytes = this.#environment.limits.maxFrameBytes;
    this.#startRequests();
  }

  #send(writer: Writer): void {
    const { chunks, length } = writer.finish();
    chunks[0]?.writeInt32BE(length - 4, 0);
    this.#unsentBytes += length;
    this.#unsentSince ??= this.#environment.clock.now();
    this.#environment.answerMemory.change(length);
    const last = chunks.pop();
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    if (last !== undefined) this.#socket.write(last, () => this.#sent(length));
    this.#socket.uncork();
  }

  #sent(length: number): void {
    if (this.#closed.signal.aborted) return;
    this.#environment.answerMemory.change(-length);
    this.#unsentBytes -= length;
    this.#lastActivityAt = this.#environment.clock.now();
    this.#unsentSince = this.#unsentBytes > 0 ? this.#lastActivityAt : undefined;
  }

  /**
   * Counts the memory of this connection, and reads more only while there is room. A partial frame reserves
   * its whole length once, so that a connection with a reservation can always read to the frame's end.
   */
  #regulate(): void {
    if (this.#closed.signal.aborted) return;
    const { requestMemory, clock } = this.#environment;
    const announced = this.#frames.announcedBytes;
    // A reservation ends with its frame; otherwise connections could wait for each other's for ever.
    this.#hold(this.#reservedBytes === announced ? announced : 0);
    if (this.#reservedBytes !== announced && !requestMemory.exhausted) this.#hold(announced);
    const mayGoOn = announced > 0 ? this.#reservedBytes === announced : !requestMemory.exhausted;
    const reading = this.#backlog.length === 0 && mayGoOn;
    // A delay of this side is not the client's.
    if (announced === 0 || !reading) this.#frameBegunAt = undefined;
    else this.#frameBegunAt ??= clock.now();
    if (!mayGoOn) requestMemory.whenFree(this.#work);
    if (reading) this.#socket.resume();
    else this.#socket.pause();
  }

  #hold(reservedBytes: number): void {
    this.#reservedBytes = reservedBytes;
    const held = this.#backlogBytes + this.#inFlightBytes + reservedBytes;
    const change = held - this.#heldBytes;
    this.#heldBytes = held;
    if (change !== 0) this.#environment.requestMemory.change(change);
  }

  #dropBacklog(): void {
    this.#backlog.length = 0;
    this.#backlogBytes = 0;
  }

  #releaseAll(): void {
    const { requestMemory, answerMemory } = this.#environment;
    this.#closed.abort();
    requestMemory.forget(this.#work);
    answerMemory.change(-this.#unsentBytes);
    requestMemory.change(-this.#heldBytes);
    this.#heldBytes = this.#unsentBytes = 0;
  }
}

function isProduceRequest(frame: Buffer | undefined): boolean {
  return frame !== undefined && frame.length >= 2 && frame.readInt16BE(0) === produce.key;
}
