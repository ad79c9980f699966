import type { Message } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import { toMillraceError } from './kafka-errors.js';
import { sizeOf, toMessage } from './records.js';
import type { NewRecord, RecordPosition } from './records.js';

/** One record that waits to be written; `message` keeps the partition once it is chosen. */
export class Entry {
  readonly topic: string;
  readonly message: Message;
  /** Approximate size in a batch, bytes. */
  readonly size: number;
  readonly #call: SendCall;
  readonly #index: number;

  constructor(record: NewRecord, call: SendCall, index: number) {
    this.topic = record.topic;
    this.message = toMessage(record);
    this.size = sizeOf(record);
    this.#call = call;
    this.#index = index;
  }

  /** Whether its caller has given up. */
  get isSettled(): boolean {
    return this.#call.hasOutcome(this.#index);
  }

  /** Reports the offset (−1 if unknown), or the error, to its caller. */
  settle(outcome: number | Error): void {
    const { topic, message } = this;
    this.#call.settle(
      this.#index,
      typeof outcome === 'number'
        ? { topic, partition: message.partition ?? 0, offset: outcome }
        : toMillraceError(outcome, `Writing to ${topic}`),
    );
  }
}

/** One call of a producer: it ends when each of its records has an outcome. */
export class SendCall {
  readonly entries: readonly Entry[];
  readonly ended: Promise<(RecordPosition | MillraceError)[]>;
  readonly #outcomes: (RecordPosition | MillraceError)[];
  #open: number;
  #end: (outcomes: (RecordPosition | MillraceError)[]) => void = () => undefined;

  constructor(records: readonly NewRecord[]) {
    this.entries = records.map((record, index) => new Entry(record, this, index));
    this.#outcomes = Array.from({ length: records.length });
    this.#open = records.length;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    if (records.length === 0) this.#end([]);
  }

  hasOutcome(index: number): boolean {
    return this.#outcomes[index] !== undefined;
  }

  settle(index: number, outcome: RecordPosition | MillraceError): void {
    if (this.hasOutcome(index)) return;
    this.#outcomes[index] = outcome;
    this.#open--;
    if (this.#open === 0) this.#end(this.#outcomes);
  }

  /** Ends the open records. */
  endWith(error: MillraceError): void {
    for (const index of this.entries.keys()) this.settle(index, error);
  }
}

export function closed(): MillraceError {
  return new MillraceError('LOG_CLOSED', 'The producer is closed; the records were not acknowledged.', {
    retriable: true,
  });
}

export function unknownOutcome(): MillraceError {
  return new MillraceError(
    'LOG_TIMEOUT',
    'The log did not acknowledge in time. The records may still be written: try again with the same event ids.',
  );
}

export function busy(waiting: number, given: number): MillraceError {
  return new MillraceError(
    'LOG_BUSY',
    `${waiting} records wait for their partition already; these ${given} were not taken. Try again later.`,
  );
}
