import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { readDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import type { StreamRecord } from '../../streams/records.js';
import { pipelineTopics } from '../../streams/topics.js';
import { sql } from '../system/audit.js';
import type { LogWriter } from './log-writer.js';
import { pipelineNames } from './samples.js';

/** Position of a record: `topic/partition/offset`. */
export type Place = string;

/** A record of an events topic. */
export interface EventRecord {
  place: Place;
  pipeline: string;
  id: string;
  key: string;
  partition: number;
  offset: number;
}

/** A record of a predictions topic. */
export interface PredictionRecord {
  /** Position of the event's record. */
  source: Place;
  pipeline: string;
  id: string;
  key: string;
  prediction_id: string;
  score: number;
  partition: number;
  offset: number;
}

/** A record of a dead-letters topic. */
export interface DeadLetterRecord {
  source: Place;
  id: string;
  reason: string;
}

export interface PredictionRow {
  event_id: string;
  prediction_id: string;
  pipeline: string;
  score: number;
  features: string;
  source: Place;
}

export interface DeadLetterRow {
  event_id: string;
  reason: string;
  source: Place;
}

/** The results of a run: the log as a reader of committed records sees it, and the views in ClickHouse. */
export interface Evidence {
  events: EventRecord[];
  predictions: PredictionRecord[];
  deadLetters: DeadLetterRecord[];
  predictionRows: PredictionRow[];
  deadLetterRows: DeadLetterRow[];
}

const timeoutMs = 60_000;
const place = "concat(topic, '/', toString(partition), '/', toString(offset)) AS source";

export async function gatherEvidence(writer: LogWriter, clickhouse: string): Promise<Evidence> {
  const log = await readLog(writer);
  const predictionRows: PredictionRow[] = [];
  const parts = 8;
  for (let part = 0; part < parts; part++)
    predictionRows.push(
      ...(await sql<PredictionRow>(
        clickhouse,
        `SELECT event_id, prediction_id, pipeline, score, features, ${place} FROM millrace.predictions WHERE cityHash64(event_id) % ${parts} = ${part}`,
      )),
    );
  const deadLetterRows = await sql<DeadLetterRow>(
    clickhouse,
    `SELECT event_id, reason, ${place} FROM millrace.dead_letters`,
  );
  return { ...log, predictionRows, deadLetterRows };
}

async function readLog({
  streams,
  serde,
}: LogWriter): Promise<Pick<Evidence, 'events' | 'predictions' | 'deadLetters'>> {
  const { type } = loadContract('shared', 'prediction');
  const events: EventRecord[] = [];
  const predictions: PredictionRecord[] = [];
  const deadLetters: DeadLetterRecord[] = [];
  const topics = pipelineNames.flatMap((pipeline) => {
    const names = pipelineTopics(pipeline);
    return [
      { topic: names.events, pipeline, kind: 'event' as const },
      { topic: names.predictions, pipeline, kind: 'prediction' as const },
      { topic: names.deadLetters, pipeline, kind: 'dead letter' as const },
    ];
  });
  const take = async (record: StreamRecord): Promise<void> => {
    const { pipeline, kind } = topics.find(({ topic }) => topic === record.topic) ?? {
      pipeline: '',
      kind: undefined,
    };
    const { partition, offset } = record;
    const key = record.key?.toString() ?? '';
    if (kind === 'event') {
      const id = record.headers['ce_id']?.toString() ?? '';
      events.push({ place: placeOf(record), pipeline, id, key, partition, offset });
    } else if (kind === 'prediction') {
      const prediction = (await serde.decode(record.value, type)) as Prediction;
      const { event_id: id, prediction_id, score } = prediction;
      predictions.push({
        source: placeOf(prediction),
        pipeline,
        id,
        key,
        prediction_id,
        score,
        partition,
        offset,
      });
    } else if (kind === 'dead letter') {
      const letter = readDeadLetter(record, pipeline);
      deadLetters.push({ source: placeOf(letter), id: letter.eventId ?? '', reason: letter.reason });
    }
  };
  const follower = await streams.follow({
    topics: topics.map(({ topic }) => topic),
    handle: async (records) => {
      for (const record of records) await take(record);
    },
  });
  await follower.whenCaughtUp({ timeoutMs });
  await follower.stop();
  return { events, predictions, deadLetters };
}

function placeOf({ topic, partition, offset }: { topic: string; partition: number; offset: number }): Place {
  return `${topic}/${partition}/${offset}`;
}
