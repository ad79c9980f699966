import type { ClickHouseClient } from '@clickhouse/client';
import { type AnswerRow, type FailureRow, findAnswers, findFailures } from '../../analytics/job-queries.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { isSameEvent } from '../scoring/prediction.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import type { AddedValues, FileFormat, InputFile, InputRow } from './formats/file-format.js';
import { inBatches, type Job, rowEventId } from './job.js';
import { type DecimalColumns, toEvent } from './row-event.js';

const rowsPerQuery = 2_000;

/** What became of a row. */
export interface RowOutcome {
  row: InputRow;
  /** Counts from 1. */
  number: number;
  answer: AnswerRow | undefined;
  /** Why there is no answer. */
  error: string | undefined;
}

/** Names of the columns that a result has beside those of the file. `label` is left out where the model gives none. */
export function addedColumns({ score_column }: Job): string[] {
  return [score_column, 'label', 'model', 'model_version', 'event_id', 'error'];
}

export function toAdded({ score_column }: Job, { answer, error }: RowOutcome): AddedValues {
  return {
    [score_column]: answer?.score ?? null,
    label: answer?.label ?? null,
    model: answer?.model ?? null,
    model_version: answer?.model_version ?? null,
    event_id: answer?.event_id ?? null,
    error: error ?? null,
  };
}

/**
 * Every row of a job's file with what became of it, in the file's order.
 *
 * @throws MillraceError as the format's `rows`, and retriable when ClickHouse can't be reached.
 */
export async function* readOutcomes(
  client: ClickHouseClient,
  pipeline: OpenPipeline,
  job: Job,
  { typed }: FileFormat,
  file: InputFile,
  decimals: DecimalColumns,
): AsyncGenerator<RowOutcome[]> {
  let number = 0;
  for await (const rows of inBatches(file.rows(), rowsPerQuery)) {
    const range = {
      from: rowEventId(job, number + 1),
      to: rowEventId(job, number + rows.length + 1),
    };
    const answers = new Map((await findAnswers(client, range)).map((answer) => [answer.event_id, answer]));
    let failures: Map<string, FailureRow> | undefined;
    const outcomes: RowOutcome[] = [];
    for (const row of rows) {
      const eventId = rowEventId(job, ++number);
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
      outcomes.push({ row, number, answer, error });
    }
    yield outcomes;
  }
}
