import { isStorable } from '../../analytics/rows.js';
import type { Prediction } from '../../schemas/types.js';
import { createFieldReplacer, type ReplaceFields } from '../../streams/avro-fields.js';
import { schemaIdOf, type Serde, wireHeaderBytes } from '../../streams/serde.js';
import { asDeadLetterReason } from '../dead-letters/reasons.js';
import { predictionId } from '../events/ids.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { isSameEvent, parseOutputs, type ReceivedEvent } from './prediction.js';

/** A prediction of an event, and its encoding. */
export interface ScoredEvent {
  prediction: Prediction;
  value: Buffer;
}

/** The predictions that synchronous calls have made of their events: header `millrace-prediction`. */
export class CarriedPredictions {
  readonly #pipeline: OpenPipeline;
  readonly #serde: Serde;
  /** Puts the position of an event into the encoding of its prediction. */
  readonly #moveTo: ReplaceFields;

  constructor(pipeline: OpenPipeline, serde: Serde) {
    this.#pipeline = pipeline;
    this.#serde = serde;
    this.#moveTo = createFieldReplacer(pipeline.prediction.type, ['topic', 'partition', 'offset']);
  }

  /**
   * Returns the prediction that a synchronous call made of an event, if it can't be anything else: anyone may
   * write to the topic, and programs that enrich events copy headers. Otherwise the event is scored like any
   * other.
   *
   * It is not encoded again: only the position of its event is put into its bytes.
   */
  find(carried: Buffer, event: ReceivedEvent): ScoredEvent | undefined | Promise<ScoredEvent | undefined> {
    const check = (decoded: unknown): ScoredEvent | undefined => {
      const prediction = decoded as Prediction;
      return this.#isOf(event, prediction) ? this.#place(carried, prediction, event) : undefined;
    };
    const refuse = (error: unknown): undefined => void asDeadLetterReason(error);
    try {
      const decoded = this.#serde.decode(carried, this.#pipeline.prediction.type);
      return decoded instanceof Promise ? decoded.then(check).catch(refuse) : check(decoded);
    } catch (error) {
      return refuse(error);
    }
  }

  #isOf({ eventId, fields }: ReceivedEvent, prediction: Prediction): boolean {
    return (
      prediction.pipeline === this.#pipeline.name &&
      prediction.event_id === eventId &&
      prediction.prediction_id === predictionId(eventId, prediction.model_digest) &&
      isSameEvent(this.#pipeline.scorer, prediction.features, fields) &&
      isStorable(prediction.event_time) &&
      isStorable(prediction.predicted_at) &&
      (prediction.model_event_at === null || isStorable(prediction.model_event_at)) &&
      prediction.role !== 'shadow' &&
      Number.isFinite(prediction.score) &&
      Number.isFinite(prediction.latency_ms) &&
      (prediction.outputs === null || parseOutputs(prediction.outputs) !== undefined)
    );
  }

  #place(carried: Buffer, prediction: Prediction, { position }: ReceivedEvent): ScoredEvent {
    const { topic, partition, offset } = position;
    const { schemaId, type } = this.#pipeline.prediction;
    // Bytes of another version, or with damaged text, are not passed on.
    const isAsWritten = schemaIdOf(carried) === schemaId && !Object.values(prediction).some(isDamagedText);
    Object.assign(prediction, { topic, partition, offset });
    const value = isAsWritten
      ? this.#moveTo(carried, wireHeaderBytes, position)
      : this.#serde.encode(schemaId, type, prediction);
    return { prediction, value };
  }
}

function isDamagedText(value: unknown): boolean {
  return typeof value === 'string' && value.includes('\uFFFD');
}
