// The end-to-end suite on other engines than the embedded ones:
//
//   node scripts/test-engines.mjs apache-kafka [files …]   Apache Kafka (JDK 17, Maven), RabbitMQ, Redis on this machine
//   node scripts/test-engines.mjs containers [files …]     Redpanda, ClickHouse, RabbitMQ, Redis by Docker; skipped without it
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { fetchJars } from './apache-kafka-jars.mjs';

/** All system tests, and others that use a log, ClickHouse, RabbitMQ or Redis externally. */
const suite = [
  'dist/tests/system',
  'dist/bridges',
  'dist/ops/doctor/check-rabbitmq',
  'dist/platform/shared-store',
  'dist/processors/dead-letters/resolve',
  'dist/processors/schedules/scheduler',
  'dist/models/lifecycle/served-models',
  'dist/app/schema-registry-topic',
  'dist/analytics/analytics.component',
];

const root = fileURLToPath(new URL('..', import.meta.url));
const [engines, ...files] = process.argv.slice(2);

if (engines === 'apache-kafka') {
  fetchJars();
} else if (engines === 'containers') {
  const docker = spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], { encoding: 'utf8' });
  if (docker.status !== 0) {
    const reason = docker.error?.message ?? docker.stderr.trim().split('\n').at(-1);
    console.log(
      `SKIPPED: the end-to-end suite on Redpanda, ClickHouse, RabbitMQ and Redis in containers, since no Docker engine answers (${reason}).`,
    );
    process.exit(0);
  }
  run('npm', ['ci', '--no-audit', '--no-fund', '--prefix', 'tests/containers']);
} else {
  console.error('Say on which engines: apache-kafka or containers.');
  process.exit(1);
}
run(process.execPath, ['scripts/setup.mjs']);
// Each system starts its own engines: the usual timeouts are for embedded ones.
const waits = ['--testTimeout=120000', '--hookTimeout=180000'];
const vitest = ['vitest', 'run', '--maxWorkers=2', ...waits, ...(files.length > 0 ? files : suite)];
run('npx', vitest, { MILLRACE_TEST_ENGINES: engines, MILLRACE_TEST_SIZE: 'all' });

/** Runs a command in the project's folder, and ends with its code when it fails. */
function run(command, args, environment = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  if (error !== undefined) console.error(`Cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}
