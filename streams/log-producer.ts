import { setMaxListeners } from 'node:events';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { backoff } from '../platform/backoff.js';
import {
  concernsRecord,
  isBadRequest,
  isFatalForProducer,
  isUnwritten,
  toMillraceError,
  typeOf,
} from './kafka-errors.js';
import { Lane } from './lane.js';
import type { LeaderBroker, LogBrokers, ProducerId } from './log-brokers.js';
import { stickyPartitioner } from './partitioner.js';
import type { NewRecord, RecordPosition } from './records.js';
import { busy, closed, type Entry, SendCall, unknownOutcome } from './send-call.js';

export interface SendOptions {
  /** Give up when this aborts. */
  signal?: AbortSignal;
  /** Give up after this time, milliseconds. Default: never. */
  timeoutMs?: number;
}

/** Writes records to the log, each acknowledged by all in-sync replicas. */
export interface LogProducer {
  /**
   * Sends records. Resolves with the position of each record, in the order given, once all are acknowledged.
   *
   * Each partition has its own lane: records keep their order in it, and an unwritable one (its topic was
   * deleted, it has no leader, too few replicas, a record is refused) blocks no other. Records that arrive
   * while a request to their broker is in flight are sent together in the next one. Waits for the end of an
   * outage.
   *
   * @throws MillraceError, retriable: `LOG_BUSY` (too many records wait for a partition already, nothing was
   *   written), `LOG_TIMEOUT` (signal or time limit: records may still be written, so retry with the same
   *   event ids), `LOG_CLOSED`. Not retriable: `RECORD_TOO_LARGE`, `LOG_REFUSED`, `LOG_UNAUTHORIZED`. Other
   *   records of the call may still be written: {@link LogProducer.sendEach} tells which.
   */
  send(records: readonly NewRecord[], options?: SendOptions): Promise<RecordPosition[]>;
  /**
   * Like `send`, with an outcome for each record: its position, or the error that `send` would throw. Throws
   * none of them.
   */
  sendEach(records: readonly NewRecord[], options?: SendOptions): Promise<(RecordPosition | MillraceError)[]>;
  /**
   * Sends the waiting records (for `drainMs` at most, default 10 s), rejects the rest as `LOG_CLOSED`, and
   * disconnects.
   */
  close(options?: { drainMs?: number }): Promise<void>;
}

interface TakenBatch {
  lane: Lane;
  entries: Entry[];
}

export const maxRecordsPerRequest = 1_000;
/** Brokers refuse a batch of more than 1 MiB. */
export const maxBytesPerRequest = 900_000;
/** Of one partition. */
const maxWaitingRecords = 100_000;
/** Pauses of a lane after failures. */
const pauses = { firstMs: 100, maxMs: 1_000 };
/** Number of a lane's failures per warning. */
const toldFailures = 15;

export class KafkaLogProducer implements LogProducer {
  readonly #brokers: LogBrokers;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  readonly #choosePartition = stickyPartitioner();
  readonly #calls = new Set<SendCall>();
  /** By topic, in the order of its partitions. */
  readonly #lanes = new Map<string, Lane[]>();
  /** Lanes with records to send and nothing in flight. */
  readonly #ready = new Set<Lane>();
  /** By topic, the records that wait until the topic's partitions are known. */
  readonly #unrouted = new Map<string, Entry[]>();
  /** Brokers with a request in flight. */
  readonly #busy = new Set<number>();
  #producerId: ProducerId | undefined;
  #isClosing = false;
  #isPumpDue = false;
  #whenDrained: (() => void) | undefined;

  constructor(brokers: LogBrokers, logger: Logger) {
    this.#brokers = brokers;
    this.#logger = logger;
    // Each lane that pauses adds one listener: Node warns about a leak at more than ten.
    setMaxListeners(0, this.#closing.signal);
  }

  async send(records: readonly NewRecord[], options: SendOptions = {}): Promise<RecordPosition[]> {
    const outcomes = await this.sendEach(records, options);
    return outcomes.map((outcome) => {
      if (outcome instanceof MillraceError) throw outcome;
      return outcome;
    });
  }

  async sendEach(
    records: readonly NewRecord[],
    { signal, timeoutMs }: SendOptions = {},
  ): Promise<(RecordPosition | MillraceError)[]> {
    if (this.#isClosing) return records.map(closed);
    const call = new SendCall(records);
    if (signal?.aborted) call.endWith(unknownOutcome());
    // Unsent records are left out then.
    const giveUp = (): void => call.endWith(unknownOutcome());
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs);
    signal?.addEventListener('abort', giveUp, { once: true });
    this.#calls.add(call);
    this.#route(call.entries);
    this.#pumpSoon();
    try {
      return await call.ended;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
      this.#calls.delete(call);
      if (this.#calls.size === 0) this.#whenDrained?.();
    }
  }

  async close({ drainMs = 10_000 }: { drainMs?: number } = {}): Promise<void> {
    this.#isClosing = true;
    if (this.#calls.size > 0) {
      const drained = new Promise<void>((resolve) => {
        this.#whenDrained = resolve;
      });
      const timer = setTimeout(() => this.#whenDrained?.(), drainMs);
      await drained;
      clearTimeout(timer);
    }
    this.#closing.abort();
    for (const call of this.#calls) call.endWith(closed());
    await this.#brokers.close();
  }

  /** Adds records to their lanes; none of a call with a full lane. */
  #route(entries: readonly Entry[]): void {
    const queues = new Map<Lane | Entry[], Entry[]>();
    for (const entry of entries) {
      const queue = this.#laneOf(entry) ?? this.#unroutedOf(entry.topic);
      const added = queues.get(queue);
      if (added) added.push(entry);
      else queues.set(queue, [entry]);
    }
    for (const [queue, added] of queues) {
      const waiting = waitingIn(queue);
      if (waiting === 0 || waiting + added.length <= maxWaitingRecords) continue;
      for (const entry of entries) entry.settle(busy(waiting, entries.length));
      return;
    }
    for (const [queue, added] of queues) {
      for (const entry of added)
        if (queue instanceof Lane) queue.add(entry);
        else queue.push(entry);
      if (queue instanceof Lane) this.#wake(queue);
    }
  }

  /** @returns `undefined` while the topic's partitions are unknown. */
  #laneOf({ topic, message }: Entry): Lane | undefined {
    const partitionMetadata = this.#brokers.partitions(topic);
    if (!Array.isArray(partitionMetadata) || partitionMetadata.length === 0 || this.#unrouted.has(topic))
      return undefined;
    const partition = this.#choosePartition({ topic, partitionMetadata, message });
    let lanes = this.#lanes.get(topic);
    if (lanes === undefined) this.#lanes.set(topic, (lanes = []));
    return (lanes[partition] ??= new Lane(topic, partition));
  }

  #unroutedOf(topic: string): Entry[] {
    const known = this.#unrouted.get(topic);
    if (known) return known;
    const entries: Entry[] = [];
    this.#unrouted.set(topic, entries);
    void this.#untilRouted(topic, entries);
    return entries;
  }

  /** Requests a topic's metadata until it exists, is refused, or has no waiting records. */
  async #untilRouted(topic: string, entries: Entry[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const error = await this.#learn(topic);
      const known = error ?? this.#brokers.partitions(topic);
      if (isBadRequest(known)) {
        this.#unrouted.delete(topic);
        for (const entry of entries) entry.settle(toMillraceError(known, `Writing to ${topic}`));
        return;
      }
      const waiting = entries.filter((entry) => !entry.isSettled);
      if (waiting.length === 0 || (Array.isArray(known) && known.length > 0)) {
        this.#unrouted.delete(topic);
        this.#route(waiting);
        this.#pump();
        return;
      }
      entries.splice(0, entries.length, ...waiting);
      const reason = known instanceof Error ? messageOf(known) : 'its partitions are not known';
      this.#tell(attempt, { topic, records: waiting.length, error: reason });
      await backoff(attempt, { ...pauses, signal: this.#closing.signal });
      if (this.#closing.signal.aborted) return;
    }
  }

  /** @returns the error. */
  async #learn(topic: string): Promise<unknown> {
    try {
      await this.#brokers.learn(topic);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #wake(lane: Lane): void {
    if (lane.waiting > 0 && lane.isAtRest) this.#ready.add(lane);
  }

  /** Once for all calls made in the same turn of the event loop: they share the first request. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    queueMicrotask(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  /** Starts a request to each broker that leads a ready lane, and has none in flight. */
  #pump(): void {
    if (this.#closing.signal.aborted) return;
    for (const lane of this.#ready) {
      const leader = this.#leaderOf(lane);
      if (leader === undefined) {
        this.#ready.delete(lane);
        void this.#rest(lane, new Error(`${lane.topic}/${lane.partition} has no leader`));
      } else if (!this.#busy.has(leader)) void this.#serve(leader);
    }
  }

  #leaderOf({ topic, partition }: Lane): number | undefined {
    const partitions = this.#brokers.partitions(topic);
    if (!Array.isArray(partitions)) return undefined;
    const leader = partitions[partition]?.leader ?? -1;
    return leader >= 0 ? leader : undefined;
  }

  #readyFor(broker: number): Lane[] {
    return [...this.#ready].filter((lane) => this.#leaderOf(lane) === broker);
  }

  /** Sends to one broker, one request at a time, as long as there are records. */
  async #serve(nodeId: number): Promise<void> {
    this.#busy.add(nodeId);
    for (let ready = this.#readyFor(nodeId); ready.length > 0; ready = this.#readyFor(nodeId)) {
      if (this.#closing.signal.aborted) return;
      this.#brokers.learnIfOld();
      try {
        const broker = await this.#brokers.connect(nodeId);
        const current = await this.#currentId(broker);
        await this.#request(broker, nodeId, current);
      } catch (error) {
        // Nothing was sent. Another broker that leads a lane by now may have taken it meanwhile.
        ready = ready.filter((lane) => this.#ready.delete(lane));
        if (isBadRequest(error)) {
          for (const lane of ready) lane.refuse(toMillraceError(error, `Writing to ${lane.topic}`));
          continue;
        }
        const [first] = ready;
        this.#tell(first?.failures ?? 0, {
          broker: nodeId,
          partitions: ready.length,
          error: messageOf(error),
        });
        for (const lane of ready) void this.#rest(lane);
      }
    }
    this.#busy.delete(nodeId);
    this.#pump();
  }

  /** The first id of all lanes. Two concurrent requests to brokers give two ids, of which either will do. */
  async #currentId(broker: LeaderBroker): Promise<ProducerId> {
    this.#producerId ??= await broker.newProducerId();
    return this.#producerId;
  }

  async #request(broker: LeaderBroker, nodeId: number, current: ProducerId): Promise<void> {
    const { producer, batches } = this.#take(nodeId, current);
    if (batches.length === 0) return;
    let answers: (number | Error)[];
    try {
      answers = await broker.produce(
        producer,
        batches.map(({ lane, entries }) => ({
          topic: lane.topic,
          partition: lane.partition,
          firstSequence: lane.sequence,
          messages: entries.map(({ message }) => message),
        })),
      );
    } catch (error) {
      this.#tell(batches[0]?.lane.failures ?? 0, {
        broker: nodeId,
        partitions: batches.length,
        error: messageOf(error),
      });
      for (const { lane, entries } of batches) {
        lane.putBack(entries, { mayBeWritten: true });
        void this.#rest(lane);
      }
      return;
    }
    for (const [index, batch] of batches.entries())
      this.#settle(batch, answers[index] ?? new Error('The broker did not answer for this partition'));
  }

  /** Collects the next request: the next batch of each ready lane, as long as there is room. */
  #take(nodeId: number, current: ProducerId): { producer: ProducerId; batches: TakenBatch[] } {
    const room = { records: maxRecordsPerRequest, bytes: maxBytesPerRequest };
    const batches: TakenBatch[] = [];
    let producer = current;
    for (const lane of this.#readyFor(nodeId)) {
      if (room.records <= 0 || room.bytes <= 0) break;
      const own = lane.producerOr(current);
      // A request has one producer id.
      if (batches.length > 0 && own !== producer) continue;
      const taken = lane.take(room, batches.length === 0);
      // Lanes without room here are first in the next request.
      if (taken === undefined && lane.waiting > 0) continue;
      this.#ready.delete(lane);
      if (taken === undefined) continue;
      lane.isAtRest = false;
      producer = own;
      batches.push({ lane, entries: taken.entries });
      room.records -= taken.entries.length;
      room.bytes -= taken.bytes;
    }
    return { producer, batches };
  }

  #settle({ lane, entries }: TakenBatch, answer: number | Error): void {
    if (typeof answer === 'number' || typeOf(answer) === 'DUPLICATE_SEQUENCE_NUMBER') {
      lane.acknowledge(entries, typeof answer === 'number' ? answer : -1);
    } else if (isBadRequest(answer)) {
      this.#refuse(lane, entries, answer);
    } else {
      if (isFatalForProducer(answer)) this.#giveUpProducer(lane);
      lane.putBack(entries, { mayBeWritten: !isFatalForProducer(answer) && !isUnwritten(answer) });
      void this.#rest(lane, answer);
      return;
    }
    lane.isAtRest = true;
    this.#wake(lane);
  }

  #refuse(lane: Lane, entries: Entry[], error: Error): void {
    if (lane.isUncertain) {
      // An earlier attempt may be written; in other batches the broker would not recognise its records.
      this.#giveUpProducer(lane);
      for (const entry of entries) entry.settle(unknownOutcome());
    } else if (entries.length > 1 && concernsRecord(error)) {
      lane.split(entries);
    } else {
      for (const entry of entries)
        entry.settle(toMillraceError(error, `Writing a record of ${entry.size} bytes to ${lane.topic}`));
    }
  }

  #giveUpProducer(lane: Lane): void {
    const given = lane.giveUpProducer();
    if (this.#producerId === given) this.#producerId = undefined;
  }

  /**
   * Pauses a lane, and refreshes its leader before it continues. @param error - to be logged; undefined if it
   * already was.
   */
  async #rest(lane: Lane, error?: Error): Promise<void> {
    lane.isAtRest = false;
    const { topic, partition, failures } = lane;
    lane.failures++;
    if (error) this.#tell(failures, { topic, partition, records: lane.waiting, error: messageOf(error) });
    await backoff(failures, { ...pauses, signal: this.#closing.signal });
    if (this.#closing.signal.aborted) return;
    lane.prune();
    if (lane.waiting > 0) await this.#learn(topic);
    lane.isAtRest = true;
    this.#wake(lane);
    this.#pump();
  }

  #tell(failures: number, details: object): void {
    if (failures % toldFailures === 0)
      this.#logger.warn({ attempt: failures, ...details }, 'Writing to the log failed; trying again');
  }
}

function waitingIn(queue: Lane | Entry[]): number {
  const count = (): number => (queue instanceof Lane ? queue.waiting : queue.length);
  if (queue instanceof Lane && count() > maxWaitingRecords / 2) queue.prune();
  return count();
}
