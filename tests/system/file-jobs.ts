import { setTimeout as sleep } from 'node:timers/promises';

/** A job in the form of `/v1/jobs/{id}`. */
export interface JobAnswer {
  job_id: string;
  state: string;
  format: string;
  file_name: string;
  rows: { total: number | null; published: number; scored: number; failed: number };
  updated_at: string;
  error: { code: string; detail: string } | null;
  links: { self: string; events: string; result: string };
}

export function fileForm(content: string | Uint8Array<ArrayBuffer>, name: string): FormData {
  const form = new FormData();
  form.set('file', new Blob([content]), name);
  return form;
}

/** Returns the job once it is done or failed. */
export async function whenFinished(http: string, jobId: string, timeoutMs = 30_000): Promise<JobAnswer> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const job = await fetch(`${http}/v1/jobs/${jobId}`)
      .then((response) => (response.ok ? (response.json() as Promise<JobAnswer>) : undefined))
      .catch(() => undefined);
    if (job !== undefined && ['done', 'failed'].includes(job.state)) return job;
    if (performance.now() > deadline) throw new Error(`not finished: ${JSON.stringify(job)}`);
    await sleep(20);
  }
}
