import { Hono } from 'hono';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { acceptUpload, describeJob, type FileJobs } from '../jobs/file-jobs.js';
import { idempotencyKeyOf } from '../pipelines/idempotency-key.js';
import { findPipeline } from '../pipelines/find-pipeline.js';

/** `POST /v1/pipelines/{pipeline}/files`: a file whose rows are scored as a job. Has limits of its own. */
export function fileRoutes(
  pipelines: ReadonlyMap<string, OpenPipeline>,
  jobs: FileJobs,
  { requestTimeoutMs }: { requestTimeoutMs: number },
): Hono {
  const app = new Hono();
  app.post('/:pipeline/files', async (c) => {
    const pipeline = findPipeline(pipelines, c.req.param('pipeline'));
    const job = await acceptUpload(c, jobs, pipeline, {
      idempotencyKey: idempotencyKeyOf(c),
      timeoutMs: requestTimeoutMs,
    });
    return c.json(describeJob(job), 202, { location: `/v1/jobs/${job.job_id}` });
  });
  return app;
}
