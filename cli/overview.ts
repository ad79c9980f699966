import { Command } from 'commander';
import { loadConfig } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { type ApiClient, createApiClient } from './api-client.js';
import { toTable } from '../ops/table.js';

interface PipelinesAnswer {
  pipelines: {
    name: string;
    status: string;
    models: { name: string; version: string }[];
    topics: Record<string, string>;
  }[];
}

interface JobsAnswer {
  jobs: {
    job_id: string;
    pipeline: string;
    state: string;
    file_name: string;
    rows: { total: number | null; scored: number; failed: number };
    created_at: string;
    error: { code: string; detail: string } | null;
  }[];
}

interface HealthAnswer {
  status: string;
  parts: Record<string, { status: string; detail?: string }>;
}

type Show = (api: ApiClient, json: boolean | undefined) => Promise<void>;

/** `millrace status`, `pipelines` and `jobs`: state of a running Millrace. */
export function overviewCommands(): Command[] {
  const command = (name: string, description: string, show: Show): Command =>
    new Command(name)
      .description(description)
      .option('--json', 'print the JSON of the API')
      .action(async ({ json }: { json?: boolean }) =>
        show(await createApiClient(loadConfig(process.env)), json),
      );
  return [
    command(
      'status',
      'show the status of each part of a running Millrace (exit code 1: a part is down)',
      showStatus,
    ),
    command('pipelines', 'list the pipelines and the model versions they serve', showPipelines),
    command('jobs', 'list the newest file jobs and their progress', showJobs),
  ];
}

async function showStatus(api: ApiClient, json: boolean | undefined): Promise<void> {
  const health = await readiness(api);
  if (health.status === 'down') process.exitCode = 1;
  if (json) return console.log(JSON.stringify(health));
  const parts = Object.entries(health.parts).map(([name, { status, detail = '' }]) => [name, status, detail]);
  console.log(toTable([['PART', 'STATUS', 'DETAIL'], ...parts, ['(all)', health.status, api.url]]));
}

/** Returns the health report, which a system that is down sends with status 503. */
async function readiness(api: ApiClient): Promise<HealthAnswer> {
  const response = await fetch(`${api.url}/health/ready`).catch(() => undefined);
  if (response === undefined) return api.json('/health/ready');
  const report = (await response.json().catch(() => undefined)) as HealthAnswer | undefined;
  if (report?.parts !== undefined) return report;
  throw new MillraceError(
    'API_ANSWER',
    `${api.url}/health/ready returned ${response.status} without a report.`,
  );
}

async function showPipelines(api: ApiClient, json: boolean | undefined): Promise<void> {
  const answer = await api.json<PipelinesAnswer>('/v1/pipelines');
  if (json) return console.log(JSON.stringify(answer));
  const rows = answer.pipelines.map(({ name, status, models, topics }) => [
    name,
    status,
    models.map((model) => `${model.name} ${model.version}`).join(', '),
    topics['events'] ?? '',
  ]);
  console.log(toTable([['PIPELINE', 'STATUS', 'MODELS', 'EVENTS'], ...rows]));
}

async function showJobs(api: ApiClient, json: boolean | undefined): Promise<void> {
  const answer = await api.json<JobsAnswer>('/v1/jobs');
  if (json) return console.log(JSON.stringify(answer));
  const rows = answer.jobs.map(({ job_id, pipeline, state, file_name, rows: count, created_at, error }) => [
    job_id,
    pipeline,
    error === null ? state : `${state} (${error.code})`,
    `${count.scored + count.failed} of ${count.total ?? '?'}`,
    String(count.failed),
    created_at.slice(0, 19).replace('T', ' '),
    file_name,
  ]);
  console.log(toTable([['JOB', 'PIPELINE', 'STATE', 'ROWS', 'FAILED', 'CREATED', 'FILE'], ...rows]));
}
