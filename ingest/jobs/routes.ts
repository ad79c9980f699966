import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { Readable } from 'node:stream';
import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import { streamSSE } from 'hono/streaming';
import { MillraceError } from '../../platform/errors.js';
import { fileFormats } from '../../processors/jobs/formats/detect-format.js';
import type { FileFormat } from '../../processors/jobs/formats/file-format.js';
import { isFinished, type Job } from '../../processors/jobs/job.js';
import { answer, pathParameter, problems } from '../openapi/describe.js';
import { jobSchema, jobsSchema } from './schemas.js';
import { aimqScoreColumn, describeJob, type FileJobs, findJob, maySee, resultGone } from './file-jobs.js';

const listed = 100;
/** Proxies cut idle connections. */
const keepAliveMs = 15_000;

const tags = ['jobs'];
const parameters = [pathParameter('job', 'Id of the job.')];
const jobCodes = ['JOB_UNKNOWN', 'LOG_UNAVAILABLE', 'LOG_TIMEOUT', 'REQUEST_TIMEOUT'] as const;

const describeEvents = describeRoute({
  tags,
  summary: 'The state of a job as server-sent events, until it ends.',
  parameters,
  responses: {
    200: {
      description: 'Events `progress`, then `done` or `failed`. The data is the job.',
      content: { 'text/event-stream': { schema: { type: 'string' } } },
    },
    ...problems(...jobCodes),
  },
});

const describeResult = describeRoute({
  tags,
  summary: 'The file with the predictions added.',
  parameters,
  responses: {
    200: {
      description: 'In the format of the file that was sent.',
      content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
      headers: { 'content-disposition': { schema: { type: 'string' } } },
    },
    ...problems(...jobCodes, 'JOB_NOT_DONE', 'JOB_FAILED', 'RESULT_GONE'),
  },
});

/** `/v1/jobs`: the states of jobs, and their results. */
export function jobRoutes(jobs: FileJobs): Hono {
  const app = new Hono();
  app.get(
    '/',
    describeRoute({
      tags,
      summary: `The newest ${listed} jobs.`,
      responses: { 200: answer('Newest first.', jobsSchema) },
    }),
    (c) => {
      const visible = jobs.log.list().filter((job) => maySee(c, job));
      return c.json({ jobs: visible.slice(0, listed).map(describeJob) });
    },
  );

  app.get(
    '/:jobId',
    describeRoute({
      tags,
      summary: 'The state of a job.',
      parameters,
      responses: { 200: answer('Its present state.', jobSchema), ...problems(...jobCodes) },
    }),
    async (c) => c.json(describeJob(await findJob(c, jobs, c.req.param('jobId')))),
  );

  app.get('/:jobId/events', describeEvents, async (c) => {
    const first = await findJob(c, jobs, c.req.param('jobId'));
    return streamSSE(c, async (stream) => {
      let latest: Job | undefined = first;
      let wake: () => void = () => undefined;
      const stopWatching = jobs.log.watch(first.job_id, (job) => {
        latest = job;
        wake();
      });
      stream.onAbort(() => wake());
      try {
        while (!stream.aborted) {
          const job = latest;
          latest = undefined;
          if (job === undefined) {
            await stream.write(': still here\n\n');
          } else {
            await stream.writeSSE({
              event: isFinished(job) ? job.state : 'progress',
              data: JSON.stringify(describeJob(job)),
            });
            if (isFinished(job)) return;
          }
          // Changes during the write are sent at once: of several states only the newest.
          if (latest === undefined)
            await new Promise<void>((resolve) => waitFor(keepAliveMs, resolve, (end) => (wake = end)));
        }
      } finally {
        stopWatching();
      }
    });
  });

  app.get('/:jobId/result', describeResult, async (c) => {
    const job = await findJob(c, jobs, c.req.param('jobId'));
    const path = jobs.files.result(job.job_id);
    if (job.state !== 'done') throw notDone(job);
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === undefined) throw resultGone(job);
    const headers = {
      'content-type': fileFormats[job.format as FileFormat['name']].contentType,
      'content-length': String(size),
      'content-disposition': attachment(job),
      'x-content-type-options': 'nosniff',
    };
    return c.body(Readable.toWeb(createReadStream(path)) as ReadableStream, 200, headers);
  });
  return app;
}

/** Resolves after a time, or when the returned function is called. */
function waitFor(ms: number, resolve: () => void, handOut: (end: () => void) => void): void {
  const timer = setTimeout(resolve, ms);
  handOut(() => {
    clearTimeout(timer);
    resolve();
  });
}

function notDone(job: Job): MillraceError {
  if (job.state === 'failed') return new MillraceError('JOB_FAILED', `The job failed: ${job.error}`);
  return new MillraceError(
    'JOB_NOT_DONE',
    `The job '${job.job_id}' is ${job.state}. Ask again when its state is done.`,
  );
}

/**
 * Returns the client's own name with `-scored`, or in AIMQ's form, in ASCII for old programs and in UTF-8 for
 * the others (RFC 6266).
 */
function attachment({ file_name, format, score_column }: Job): string {
  const base = file_name.slice(0, file_name.length - extname(file_name).length) || 'file';
  const name = score_column === aimqScoreColumn ? `processed_${base}.${format}` : `${base}-scored.${format}`;
  const ascii = name.replaceAll(/[^\w. ()-]/g, '_');
  const utf8 = encodeURIComponent(wellFormed(name)).replaceAll(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${utf8}`;
}

/** A name may have been cut in the middle of a character. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}
