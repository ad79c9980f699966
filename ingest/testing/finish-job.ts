import { systemTopics } from '../../streams/topics.js';
import type { TestApp } from './test-app.js';

/** Writes the end of a job to the log, as its runner would. */
export async function finishJob(
  { log, jobs }: TestApp,
  jobId: string,
  state: 'done' | 'failed' = 'done',
): Promise<void> {
  const job = jobs.log.get(jobId);
  if (job === undefined) throw new Error(`there is no job ${jobId}`);
  const at = job.at + 1;
  const error = state === 'failed' ? { error_code: 'FILE_INVALID', error: 'The file is broken.' } : {};
  const record = jobs.log.toRecord({ ...job, state, at, finished_at: at, rows_total: 1, ...error });
  await log.producer.send([{ ...record, topic: systemTopics.jobs }]);
}
