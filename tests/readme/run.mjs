// Does what the README says, in a fresh clone, as a newcomer would: `node tests/readme/run.mjs`.
// Every `sh` block is run as it stands: `npm start` in the background, the others while it runs, `npm test` not
// here (it has a run of its own). A block passes when it ends well, prints something, and what it prints is no problem.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const clone = join(mkdtempSync(join(tmpdir(), 'millrace-readme-')), 'millrace');
sh(`git clone --quiet "${root}" "${clone}"`, root);

const blocks = [...readFileSync(join(clone, 'README.md'), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(
  ([, text]) => text.trim(),
);
const tour = blocks.filter((block) => !/^npm (start|test)$/.test(block));
const system = spawn('npm', ['start'], { cwd: clone, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
let screen = '';
for (const stream of [system.stdout, system.stderr]) stream.on('data', (chunk) => (screen += chunk));

let failed = 0;
try {
  const startedAt = Date.now();
  while (!screen.includes('is ready')) {
    if (system.exitCode !== null || Date.now() - startedAt > 300_000)
      throw new Error(`npm start did not get ready:\n${screen}`);
    await sleep(100);
  }
  console.log(
    `npm start was ready after ${((Date.now() - startedAt) / 1000).toFixed(1)} s, installation and compilation included`,
  );
  for (const block of tour) {
    const problem = await check(block);
    if (problem !== undefined) failed += 1;
    console.log(
      `${problem === undefined ? 'ok' : 'FAILED'}: ${block.split('\n')[0]}${problem === undefined ? '' : `\n${problem}`}`,
    );
  }
  process.kill(-(system.pid ?? 0), 'SIGINT');
  await new Promise((resolve) => system.once('close', resolve));
  if (!screen.includes('Stopped.')) throw new Error(`Ctrl-C did not stop it cleanly:\n${screen}`);
} catch (error) {
  failed += 1;
  console.log(`FAILED: ${error.message}`);
} finally {
  if (system.exitCode === null && system.signalCode === null) process.kill(-(system.pid ?? 0), 'SIGKILL');
  rmSync(join(clone, '..'), { recursive: true, force: true });
}
process.exit(failed === 0 ? 0 : 1);

/** A row shows up a moment after its event: what prints nothing is tried again for five seconds. */
async function check(block) {
  for (let attempt = 0; ; attempt++) {
    const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', block], {
      cwd: clone,
      encoding: 'utf8',
      timeout: 60_000,
    });
    const wrong = status !== 0 || stdout.trim() === '' || /urn:millrace:problem|DB::Exception/.test(stdout);
    if (!wrong) return undefined;
    if (attempt === 10 || stdout.trim() !== '') return `status ${status}\n${stdout}${stderr}`;
    await sleep(500);
  }
}

function sh(command, cwd) {
  const { status } = spawnSync('bash', ['-c', command], { cwd, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${command} ended with ${status}`);
}
