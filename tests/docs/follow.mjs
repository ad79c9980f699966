// Follows a document literally, in a fresh clone: `node tests/docs/follow.mjs README.md`. With `--project`,
// in an empty folder beside the package that is made of the clone. A block after a line with only a path,
// such as `examples/pump.json`:, is written to that file. A `sh` block runs unchanged, except that one that
// ends with `npm start` runs in the background, and `npm test` is left out (it has its own run). `python` has
// the packages of tests/zoo/install.sh. A block passes when it succeeds, prints something (if it queries the
// running system), and prints no problem.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options, positionals } = parseArgs({
  options: { project: { type: 'boolean' }, mlflow: { type: 'boolean' } },
  allowPositionals: true,
});
const [document = 'README.md'] = positionals;
const root = fileURLToPath(new URL('../..', import.meta.url));
const parent = mkdtempSync(join(tmpdir(), 'millrace-follow-'));
const clone = join(parent, 'millrace');
const folder = options.project ? join(parent, 'my-project') : clone;
const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
const python = join(cache, 'millrace', options.mlflow ? 'mlflow' : 'python-models', 'bin');
const env = {
  ...process.env,
  PATH: `${python}${delimiter}${process.env.PATH}`,
  // Jobs of MLflow's server would need packages that a registry does not use.
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false',
  DO_NOT_TRACK: 'true',
};
let system;
let screen = '';
let failed = 0;
try {
  const { status } = spawnSync('git', ['clone', '--quiet', root, clone], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`git clone ended with ${status}`);
  if (options.project) makePackage();
  for (const block of blocksOf(readFileSync(join(clone, document), 'utf8'))) {
    const problem = await follow(block);
    console.log(`${problem === undefined ? 'ok' : 'FAILED'}: ${block.file ?? block.text.split('\n')[0]}`);
    if (problem === undefined) continue;
    failed += 1;
    console.log(problem);
  }
  if (system !== undefined) await stop();
} catch (error) {
  failed += 1;
  console.log(`FAILED: ${error.message}`);
} finally {
  if (system?.exitCode === null && system.signalCode === null) process.kill(-system.pid, 'SIGKILL');
  rmSync(parent, { recursive: true, force: true });
}
process.exit(failed === 0 ? 0 : 1);

function makePackage() {
  for (const command of ['npm run build', 'npm pack --pack-destination ..']) {
    const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: clone, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${command} ended with ${status}\n${stderr}`);
  }
  mkdirSync(folder);
}

function blocksOf(markdown) {
  const blocks = markdown.matchAll(/(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n([\s\S]*?)^```$/gm);
  return [...blocks]
    .map(([, file, language, text]) => ({ file, language, text }))
    .filter(({ file, language }) => file !== undefined || language === 'sh');
}

async function follow({ file, text }) {
  if (file !== undefined) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
    return undefined;
  }
  if (text.trim() === 'npm test') return undefined;
  return text.trim().endsWith('npm start') ? start(text) : run(text);
}

async function start(text) {
  const startedAt = Date.now();
  const how = { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] };
  system = spawn('bash', ['-c', text], how);
  for (const stream of [system.stdout, system.stderr]) stream.on('data', (chunk) => (screen += chunk));
  while (!screen.includes('is ready')) {
    if (system.exitCode !== null || Date.now() - startedAt > 300_000)
      throw new Error(`npm start did not get ready:\n${screen}`);
    await sleep(100);
  }
  console.log(`npm start was ready after ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

async function stop() {
  process.kill(-system.pid, 'SIGINT');
  await new Promise((resolve) => system.once('close', resolve));
  if (!screen.includes('Stopped.')) throw new Error(`Ctrl-C did not stop it cleanly:\n${screen}`);
}

/** A row appears a moment after its event: a block without output is retried for five seconds. */
async function run(text) {
  for (let attempt = 0; ; attempt++) {
    const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', text], {
      cwd: folder,
      env,
      encoding: 'utf8',
      timeout: 300_000,
    });
    const silent = system !== undefined && stdout.trim() === '';
    const wrong = status !== 0 || silent || /urn:millrace:problem|DB::Exception/.test(stdout);
    if (!wrong) return undefined;
    if (attempt === 10 || !silent) return `status ${status}\n${stdout}${stderr}`;
    await sleep(500);
  }
}
