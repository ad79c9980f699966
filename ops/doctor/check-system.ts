import { attempt, type Diagnosis } from './diagnosis.js';

/** Checks what a running process reports at `/health/ready`. */
export async function checkSystem(diagnosis: Diagnosis, url: string): Promise<void> {
  const notes = diagnosis.notes('system');
  const fix = 'Start it (`npm start`, or the role `millrace serve`), or set MILLRACE_URL to its address.';
  await attempt(notes, { what: `The HTTP API at ${url} does not answer`, fix }, async () => {
    const startedAt = performance.now();
    const response = await fetch(`${url.replace(/\/+$/, '')}/health/ready`, {
      signal: AbortSignal.timeout(4_000),
    });
    const { status, parts } = (await response.json()) as Report;
    const wrong = Object.entries(parts).filter(([, part]) => part.status !== 'up');
    for (const [name, part] of wrong) {
      const what = `${name} is ${part.status}: ${part.detail ?? 'no detail'}`;
      const look = 'Check the other findings about it, and the log of the process.';
      if (part.status === 'down') notes.error(what, look);
      else notes.warn(what, look);
    }
    const took = Math.round(performance.now() - startedAt);
    if (wrong.length === 0)
      notes.ok(
        `The HTTP API at ${url} is ${status} with all ${Object.keys(parts).length} parts, in ${took} ms`,
      );
  });
}

interface Report {
  status: string;
  parts: Record<string, { status: string; detail?: string }>;
}
