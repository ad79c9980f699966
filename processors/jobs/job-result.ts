import type { ClickHouseClient } from '@clickhouse/client';
import { type AnswerRow, type FailureRow, findAnswers, findFailures } from '../../analytics/job-queries.js';
import type { OutputShapes } from '../../models/outputs.js';
import { widthOf } from '../../models/tensors.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { isSameEvent, outputsOf } from '../scoring/prediction.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import type { DecimalColumns } from './formats/examine.js';
import type { AddedValues, FileFormat, ParsedRow } from './formats/file-format.js';
import { type Job, rowEventId } from './job.js';
import { toEvent } from './row-event.js';

/** Rows whose outcomes are looked up together. */
export const rowsPerQuery = 2_000;
/** Elements of outputs that are looked up together. */
const elementsPerQuery = 200_000;

/** Returns how many rows are looked up together with outputs of these dimensions, so that they fit memory. */
export function rowsWithOutputs(versions: readonly { outputShapes: OutputShapes }[]): number {
  const elements = versions.map(({ outputShapes }) =>
    Object.values(outputShapes).reduce((sum, shape) => sum + widthOf(shape), 0),
  );
  return Math.max(1, Math.min(rowsPerQuery, Math.floor(elementsPerQuery / Math.max(1, ...elements))));
}

export interface OutcomeOptions {
  client: ClickHouseClient;
  pipeline: OpenPipeline;
  job: Job;
  /** In the file's format. */
  typed: boolean;
  decimals: DecimalColumns;
  /** Whether the outputs of the models are wanted. */
  outputs: boolean;
}

/** The outcome of a row. */
export interface RowOutcome {
  /** Counts from 1. */
  number: number;
  answer: AnswerRow | undefined;
  /** Why there is no prediction. */
  error: string | undefined;
}

/** What the models of a pipeline give besides the score. */
export interface Given {
  labels: boolean;
  /** Whether a model gives more than its one number. */
  outputs: boolean;
}

/**
 * Returns the names of a result's additional columns: without `label` if no model gives one, and without
 * `outputs` if these have nothing but the score. A line of JSON always has `outputs`.
 */
export function addedColumns(
  { score_column }: Job,
  { typed }: Pick<FileFormat, 'typed'>,
  { labels, outputs }: Given,
): string[] {
  return [
    score_column,
    ...(labels ? ['label'] : []),
    ...(outputs || typed ? ['outputs'] : []),
    'model',
    'model_version',
    'event_id',
    'error',
  ];
}

export function toAddedValues({ score_column }: Job, { answer, error }: RowOutcome): AddedValues {
  return {
    [score_column]: answer?.score ?? null,
    label: answer?.label ?? null,
    outputs: answer === undefined ? null : outputsOf(answer),
    model: answer?.model ?? null,
    model_version: answer?.model_version ?? null,
    event_id: answer?.event_id ?? null,
    error: error ?? null,
  };
}

/**
 * Looks up the outcomes of a batch of a job's rows.
 *
 * @param first - number of the first row.
 * @throws MillraceError, retriable, when ClickHouse is unavailable.
 */
export async function findOutcomes(
  { client, pipeline, job, typed, decimals, outputs }: OutcomeOptions,
  rows: readonly ParsedRow[],
  first: number,
): Promise<RowOutcome[]> {
  const range = { from: rowEventId(job, first), to: rowEventId(job, first + rows.length) };
  const found = await findAnswers(client, range, outputs);
  const answers = new Map(found.map((answer) => [answer.event_id, answer]));
  let failures: Map<string, FailureRow> | undefined;
  const outcomes: RowOutcome[] = [];
  for (const [index, row] of rows.entries()) {
    const number = first + index;
    const eventId = rowEventId(job, number);
    let answer = answers.get(eventId);
    let error: string | undefined;
    const event = toEvent(row, pipeline.event.schema, pipeline.scorer, typed, decimals);
    if (event instanceof InvalidEvent) {
      answer = undefined;
      error = `EVENT_INVALID: ${event.message}`;
    } else if (answer === undefined) {
      failures ??= new Map(
        (await findFailures(client, pipeline.name, range)).map((each) => [each.event_id, each]),
      );
      const failure = failures.get(eventId);
      error = failure === undefined ? undefined : `${failure.reason}: ${failure.detail}`;
    } else if (!isSameEvent(pipeline.scorer, answer.features, event)) {
      answer = undefined;
      error = `EVENT_ID_CONFLICT: The prediction of ${eventId} is of an event with other fields.`;
    }
    outcomes.push({ number, answer, error });
  }
  return outcomes;
}
