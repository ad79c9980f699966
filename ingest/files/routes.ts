import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { acceptUpload, describeJob, type FileJobs } from '../jobs/file-jobs.js';
import { idempotencyKeyOf } from '../pipelines/idempotency-key.js';
import { answer, problems } from '../openapi/describe.js';
import { jobSchema } from '../jobs/schemas.js';
import { idempotencyKeyParameter, locationHeader, uploadBody, uploadCodes } from './describe-upload.js';

const describe = describeRoute({
  summary: 'Score the rows of a file as a job.',
  parameters: [idempotencyKeyParameter],
  requestBody: uploadBody,
  responses: {
    202: { ...answer('File and job are on disk and on the log.', jobSchema), headers: locationHeader },
    ...problems(...uploadCodes, 'PIPELINE_UNKNOWN', 'PIPELINE_DOWN'),
  },
});

/** `POST /v1/pipelines/{pipeline}/files`: a file whose rows are scored as a job. Has its own limits. */
export function fileRoutes(
  pipelines: Pipelines,
  jobs: FileJobs,
  { requestTimeoutMs }: { requestTimeoutMs: number },
): Hono {
  const app = new Hono();
  app.post('/:pipeline/files', describe, async (c) => {
    const pipeline = pipelines.find(c.req.param('pipeline'));
    const job = await acceptUpload(c, jobs, pipeline, {
      idempotencyKey: idempotencyKeyOf(c),
      timeoutMs: requestTimeoutMs,
    });
    return c.json(describeJob(job), 202, { location: `/v1/jobs/${job.job_id}` });
  });
  return app;
}
