import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import { type FileFormat, isFileSystemError } from '../../processors/jobs/formats/file-format.js';
import { findOutcomes, type RowOutcome, rowsPerQuery } from '../../processors/jobs/job-result.js';
import type { ParsedFile } from '../../processors/jobs/parser/file-parser.js';
import { isFinished, type Job } from '../../processors/jobs/job.js';
import { isErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { aimqPipeline } from '../middleware/authorization.js';
import { acceptUpload, aimqScoreColumn, describeJob, type FileJobs, resultGone } from '../jobs/file-jobs.js';
import { idempotencyKeyOf } from '../pipelines/idempotency-key.js';
import { aimqProblems, answer } from '../openapi/describe.js';
import {
  idempotencyKeyParameter,
  locationHeader,
  uploadBody,
  uploadCodes,
} from '../files/describe-upload.js';
import { pricedFileSchema, type PricedRow, uploadedSchema } from './schemas.js';

/** Members that AIMQ's clients use. */
const message = 'File uploaded and message sent';

/** Rows that are answered with their prices; for a larger file the answer is the job. */
const maxAnswered = 10_000;

const describe = describeRoute({
  tags: ['AIMQ'],
  summary: 'Price the cars of a spreadsheet, as AIMQ does.',
  parameters: [idempotencyKeyParameter],
  requestBody: uploadBody,
  responses: {
    200: { ...answer('A price for each row.', pricedFileSchema), headers: locationHeader },
    202: { ...answer('A large file: the job continues.', uploadedSchema), headers: locationHeader },
    ...aimqProblems(...uploadCodes, 'JOB_FAILED', 'RESULT_GONE', 'PIPELINE_DOWN'),
  },
});

/**
 * `POST /upload` in AIMQ's form: a spreadsheet in the field `file`. The answer has a price for every row if
 * they are available within the time of a request; else it is 202 with the job, which continues.
 */
export function aimqUpload(
  pipelines: Pipelines,
  jobs: FileJobs,
  { requestTimeoutMs }: { requestTimeoutMs: number },
): Hono {
  const app = new Hono();
  app.post('/', describe, async (c) => {
    const carPrice = pipelines.find(aimqPipeline);
    const options = {
      idempotencyKey: idempotencyKeyOf(c),
      timeoutMs: requestTimeoutMs,
      scoreColumn: aimqScoreColumn,
    };
    const accepted = await acceptUpload(c, jobs, carPrice, options);
    const job = await whenFinished(jobs, accepted, requestTimeoutMs);
    const location = `/v1/jobs/${job.job_id}`;
    if (job.state === 'failed') {
      const code = job.error_code ?? '';
      throw new MillraceError(isErrorCode(code) ? code : 'JOB_FAILED', job.error ?? 'The job failed.');
    }
    if (job.state !== 'done' || (job.rows_total ?? 0) > maxAnswered) {
      return c.json({ message, ...describeJob(job) }, 202, { location });
    }
    const format = job.format as FileFormat['name'];
    const predictions = await jobs.parser
      .read(jobs.files.input(job.job_id), { format }, (file) => predict(carPrice, jobs, job, file))
      .catch((error: unknown) => {
        // Sent again with the same Idempotency-Key, long after the job.
        throw isFileSystemError(error) ? resultGone(job) : error;
      });
    return c.json({ message, ...describeJob(job), predictions }, 200, { location });
  });
  return app;
}

/** Returns the answers to all rows of a finished job. */
async function predict(
  pipeline: OpenPipeline,
  { client }: FileJobs,
  job: Job,
  file: ParsedFile,
): Promise<PricedRow[]> {
  const decimals = await file.decimals();
  const options = { client, pipeline, job, typed: file.format.typed, decimals, outputs: false };
  const answers: PricedRow[] = [];
  for await (const rows of file.rows({ maxRows: rowsPerQuery })) {
    const outcomes = await findOutcomes(options, rows, answers.length + 1);
    answers.push(...outcomes.map(toRow));
  }
  return answers;
}

function toRow({ number, answer: prediction, error }: RowOutcome): PricedRow {
  if (prediction === undefined) return { row: number, predicted_price: null, error: error ?? '' };
  const { score, event_id, model, model_version } = prediction;
  return { row: number, predicted_price: score, event_id, model, model_version };
}

/** Returns the job once it is finished, or in its state at the time limit. */
async function whenFinished({ log }: FileJobs, job: Job, timeoutMs: number): Promise<Job> {
  let stopWatching = (): void => undefined;
  let timer: NodeJS.Timeout | undefined;
  const finished = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
    const check = (now: Job | undefined): void => {
      if (now !== undefined && isFinished(now)) resolve();
    };
    stopWatching = log.watch(job.job_id, check);
    check(log.get(job.job_id));
  });
  await finished;
  clearTimeout(timer);
  stopWatching();
  return log.get(job.job_id) ?? job;
}
