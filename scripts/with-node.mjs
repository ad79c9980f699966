// Runs a command on another version of Node, which it fetches from the npm registry into a cache folder.
//
//   node scripts/with-node.mjs 22 -- npm test        on the newest 22 of the npm package `node`
//   node scripts/with-node.mjs 20.19 -- npm test     on the newest 20.19
//
// Setting: NODE_VERSIONS_CACHE (folder of the downloads).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

const [wanted, separator, ...command] = process.argv.slice(2);
if (wanted === undefined || separator !== '--' || command.length === 0)
  fail('Usage: node scripts/with-node.mjs VERSION -- COMMAND');

const cacheFolder =
  process.env.NODE_VERSIONS_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'millrace', 'node');
const version = newest(wanted);
// The package `node` is a wrapper whose install step fetches this one; install steps are off here.
const packageName = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
const bin = join(install(), 'node_modules', packageName, 'bin');
const environment = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  // The test runner checks it: tests/setup/node-version.ts.
  MILLRACE_EXPECTED_NODE: `v${version}`,
};

const probe = spawnSync('node', ['-p', 'process.version'], { env: environment, encoding: 'utf8' });
if (probe.stdout?.trim() !== `v${version}`)
  fail(`Wanted Node ${version}, and ${bin} runs ${probe.stdout?.trim()}.`);
console.error(`Node ${version}: ${command.join(' ')}`);
const { status, error } = spawnSync(command[0], command.slice(1), { env: environment, stdio: 'inherit' });
if (error) fail(`Cannot run ${command[0]}: ${error.message}`);
process.exit(status ?? 1);

/** Returns the highest version with this prefix; the registry lists them in no particular order. */
function newest(prefix) {
  const { stdout } = npm(['view', 'node', 'versions', '--json']);
  const versions = JSON.parse(stdout)
    .filter((each) => /^\d+\.\d+\.\d+$/.test(each) && `${each}.`.startsWith(`${prefix}.`))
    .map((each) => each.split('.').map(Number))
    .toSorted((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return versions.at(-1)?.join('.') ?? fail(`The npm package node has no version ${prefix}.`);
}

/** Downloads it once; a partial download never counts. */
function install() {
  const folder = join(cacheFolder, `${packageName}-${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder, { recursive: true });
  const work = mkdtempSync(join(cacheFolder, 'download-'));
  console.error(`Fetching Node ${version} …`);
  try {
    npm(['install', '--prefix', work, '--ignore-scripts', '--no-audit', `${packageName}@${version}`]);
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

function npm(args) {
  const result = spawnSync('npm', args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (result.status !== 0)
    throw new Error(`npm ${args[0]} failed: ${result.error?.message ?? result.stderr}`);
  return result;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
