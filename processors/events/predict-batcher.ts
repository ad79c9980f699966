import { MillraceError } from '../../platform/errors.js';
import type { TraceHeaders } from '../../platform/tracing/trace-headers.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import type { IdentifiedEvent, PredictResult, RequestContext } from './accept-events.js';

/** Maximum events of one batch: a larger request is several. */
const maxEvents = 512;

/** Events of one pipeline whose requests have the same source, time limit and span. */
export interface PredictBatch {
  pipeline: OpenPipeline;
  context: Pick<RequestContext, 'source' | 'timeoutMs' | 'span'>;
  events: readonly { event: IdentifiedEvent; trace: TraceHeaders | undefined }[];
}

interface Waiting {
  event: IdentifiedEvent;
  trace: TraceHeaders | undefined;
  resolve: (result: PredictResult) => void;
  reject: (error: unknown) => void;
}

interface WaitingBatch extends PredictBatch {
  events: Waiting[];
}

/**
 * Batches the events of all requests that arrive in one turn of the event loop: they share a model call and a
 * write to the log, and the promises and timers of both. An event alone waits no longer than its turn.
 */
export class PredictBatcher {
  readonly #predict: (batch: PredictBatch) => Promise<PredictResult[]>;
  #waiting: WaitingBatch[] = [];

  /** @param predict - scores events and writes them to the log. Returns a result for each, in their order. */
  constructor(predict: (batch: PredictBatch) => Promise<PredictResult[]>) {
    this.#predict = predict;
  }

  /** @throws as the call for its batch. */
  predict(pipeline: OpenPipeline, event: IdentifiedEvent, context: RequestContext): Promise<PredictResult> {
    return new Promise((resolve, reject) => {
      const entry = { event, trace: context.trace, resolve, reject };
      if (this.#waiting.length === 0) setImmediate(() => this.#flush());
      const open = this.#waiting.findLast((batch) => batch.pipeline === pipeline);
      if (open !== undefined && isAlike(open.context, context) && open.events.length < maxEvents)
        open.events.push(entry);
      else this.#waiting.push({ pipeline, context, events: [entry] });
    });
  }

  #flush(): void {
    const due = this.#waiting;
    this.#waiting = [];
    for (const batch of due) void this.#run(batch);
  }

  async #run(batch: WaitingBatch): Promise<void> {
    try {
      const results = await this.#predict(batch);
      for (const [index, { resolve }] of batch.events.entries())
        resolve(results[index] ?? new MillraceError('INTERNAL', 'An event of a batch has no result.'));
    } catch (error) {
      for (const { reject } of batch.events) reject(error);
    }
  }
}

function isAlike(one: PredictBatch['context'], other: PredictBatch['context']): boolean {
  return one.source === other.source && one.timeoutMs === other.timeoutMs && one.span === other.span;
}
