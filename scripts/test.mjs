// Tests of any change, in three groups one after the other: `npm test`. With `--projects` those of projects
// that change, which start processes or a system for each case: `npm run test:projects`.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));

// Files share processes (--isolate=false): starting one for each, and loading the system in it, takes longer
// than most of them run. These files need their own process.
const alone = [
  // Their client is the unmodified kafkajs; streams/kafkajs.ts replaces parts of the process's copy.
  'dist/tests/contract/',
  // It changes the user of its process.
  'dist/models/registration/registrar.component.test.js',
  // It looks at what its process has loaded.
  'dist/platform/tracing/traces.component.test.js',
  // They measure the memory of their process.
  'dist/embedded/kafka/fuzz.component.test.js',
  'dist/models/credit-default.component.test.js',
  'dist/processors/jobs/formats/formats.component.test.js',
  'dist/streams/serde-hostile-bytes.component.test.js',
];
const projects = [
  'dist/app/dev/',
  'dist/models/registration/take-over.component.test.js',
  'dist/processors/pipelines/open-pipelines.component.test.js',
  'dist/processors/scaffold/',
  'dist/tests/system/dev.system.test.js',
  'dist/tests/system/isolation.system.test.js',
];
const others = [...alone, ...projects].flatMap((path) => [
  '--exclude',
  path.endsWith('/') ? `${path}**` : path,
]);

const groups = process.argv.includes('--projects')
  ? [['--maxWorkers=2', ...projects]]
  : [
      ['--isolate=false', '.unit.test'],
      ['--isolate=false', ...others, '.component.test', '.system.test'],
      alone,
    ];
const failed = groups.filter((args) => {
  const { status } = spawnSync(process.execPath, [vitest, 'run', ...args], { stdio: 'inherit' });
  return status !== 0;
});
process.exitCode = failed.length > 0 ? 1 : 0;
