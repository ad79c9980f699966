import { sumOf } from '../../models/testing/summing-version.js';
import { isCanary } from '../../processors/scoring/model-router.js';
import { loadContract } from '../../schemas/contracts.js';
import type { ModelEvent, Prediction } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import type { AcceptedEvent } from './traffic.js';

/**
 * A change of models: when it was decided, and when every process had picked it up, milliseconds since 1970.
 */
export interface Change {
  at: number;
  pickedUpAt: number;
}

/** An alias event, and its position on `millrace.models`. */
export type AliasEvent = ModelEvent & { offset: number };

/**
 * The records of one model on the log: its alias events, and all predictions of the pipeline of the same
 * name.
 */
export interface Lives {
  model: string;
  aliases: AliasEvent[];
  predictions: Prediction[];
  /** By event id. */
  answers: Map<string, Prediction[]>;
  shadows: Map<string, Prediction[]>;
}

/** Reads all of it from the beginning, as a consumer of committed records. */
export async function readLives(log: Streams, serde: Serde, model: string): Promise<Lives> {
  const contracts = {
    prediction: loadContract('shared', 'prediction'),
    event: loadContract('shared', 'model-event'),
  };
  const lives: Lives = { model, aliases: [], predictions: [], answers: new Map(), shadows: new Map() };
  const handle = async (records: StreamRecord[]): Promise<void> => {
    for (const { topic, value, offset } of records) {
      if (topic === systemTopics.models) {
        const event = (await serde.decode(value, contracts.event.type)) as ModelEvent;
        if (event.model === model && event.kind !== 'registered') lives.aliases.push({ ...event, offset });
        continue;
      }
      const prediction = (await serde.decode(value, contracts.prediction.type)) as Prediction;
      lives.predictions.push(prediction);
      const byEvent = prediction.role === 'shadow' ? lives.shadows : lives.answers;
      byEvent.set(prediction.event_id, [...(byEvent.get(prediction.event_id) ?? []), prediction]);
    }
  };
  const follower = await log.follow({ topics: [`${model}.predictions`, systemTopics.models], handle });
  await follower.whenCaughtUp({ timeoutMs: 30_000 });
  await follower.stop();
  return lives;
}

/**
 * Returns all errors of the answer to an event: version 1 is the shipped one, any other adds up the fields.
 */
export function problemsOf(
  event: AcceptedEvent,
  { model, aliases, answers }: Lives,
  changes: readonly Change[],
): string[] {
  const [answer, second] = answers.get(event.id) ?? [];
  if (answer === undefined) return ['has no answer'];
  if (second !== undefined) return ['has two answers'];
  const problems: string[] = [];
  const { role, model_version: version, predicted_at: predictedAt } = answer;
  const kind = role === 'champion' ? 'champion' : 'challenger';
  const alias = aliases.find(({ offset }) => offset === answer.model_event);
  if (alias?.kind !== kind || alias.version !== version || alias.digest !== answer.model_digest)
    problems.push(`is by the ${role} ${version} under an event that made ${alias?.version} ${alias?.kind}`);
  if (answer.model_event_at !== alias?.at) problems.push('has another time than its alias event');
  if (predictedAt < (alias?.at ?? 0)) problems.push('was scored by a version before its turn');
  const next = aliases.find((other) => other.kind === kind && other.offset > answer.model_event);
  const over = changes.find((change) => change.at >= (next?.at ?? Number.POSITIVE_INFINITY));
  if (over !== undefined && event.sentAt > over.pickedUpAt)
    problems.push(`was sent when version ${version} had no turn any more, and scored by it`);
  if (role === 'canary' && !isCanary(event.key, model, alias?.canary_share ?? 0))
    problems.push('was answered by a challenger that has no right to its key');
  const sum = sumOf(Object.values(event.fields));
  const isRight =
    version === '1'
      ? answer.score >= 0 && answer.score <= 1
      : Math.abs(answer.score - sum) <= 1e-5 * Math.max(1, Math.abs(sum));
  if (!isRight) problems.push(`has the score ${answer.score}, which version ${version} does not give`);
  if (event.answer !== undefined && event.answer.prediction_id !== answer.prediction_id)
    problems.push('was answered otherwise by predict');
  return problems;
}

/**
 * When the stream scorer had passed an event, milliseconds since 1970: at the latest when it scored the next
 * event of the partition itself. It only forwards events that `predict` answered.
 */
export function streamTimes({ answers }: Lives, events: readonly AcceptedEvent[]): Map<string, number> {
  const placed = events.flatMap((event) =>
    (answers.get(event.id) ?? []).map((answer) => ({ event, answer })),
  );
  const times = new Map<string, number>();
  const next = new Map<number, number>();
  for (const { event, answer } of placed.toSorted((a, b) => b.answer.offset - a.answer.offset)) {
    if (event.answer === undefined) next.set(answer.partition, answer.predicted_at);
    times.set(event.id, next.get(answer.partition) ?? Number.POSITIVE_INFINITY);
  }
  return times;
}
