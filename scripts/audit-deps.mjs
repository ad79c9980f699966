// Known high and critical advisories of the production dependencies, by `npm audit`.
//
//   npm run audit:deps
//
// Exit code 0: none, or each has an explanation in .ci/audit-explanations.json that has not expired. 1: one
// has none. 75: not checked, since the registry does not answer audit requests; that says nothing about the
// packages. An explanation: {"advisory": "GHSA-…", "package": "name", "why": "…", "expires": "2030-01-31"}.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const explanationsFile =
  process.env.AUDIT_EXPLANATIONS ?? fileURLToPath(new URL('../.ci/audit-explanations.json', import.meta.url));
const command = ['audit', '--omit=dev', '--audit-level=high', '--json'];
const { stdout, stderr, error } = spawnSync('npm', command, { encoding: 'utf8', timeout: 120_000 });

const report = parse(stdout);
if (report?.vulnerabilities === undefined) {
  const reason = report?.message ?? error?.message ?? stderr.trim().split('\n').at(-1);
  console.log(`NOT CHECKED: the registry that npm uses does not answer audit requests (${reason}).`);
  console.log(
    'This is no pass. Run `npm run audit:deps` where the registry is npm’s own, or another that answers.',
  );
  process.exit(75);
}

const explanations = JSON.parse(readFileSync(explanationsFile, 'utf8'));
const today = new Date().toISOString().slice(0, 10);
const found = new Map();
for (const { via } of Object.values(report.vulnerabilities))
  // Text names another package of this report, which affects this one.
  for (const advisory of via.filter((each) => typeof each === 'object' && isSerious(each)))
    found.set(`${idOf(advisory)} ${advisory.name}`, advisory);

let unexplained = 0;
for (const advisory of found.values()) {
  const id = idOf(advisory);
  const explanation = explanations.find((each) => each.advisory === id && each.package === advisory.name);
  const what = `${advisory.severity}: ${advisory.name} ${advisory.range}: ${advisory.title} (${advisory.url})`;
  if (explanation !== undefined && explanation.expires >= today) {
    console.log(`Explained until ${explanation.expires}, ${what}\n  ${explanation.why}`);
    continue;
  }
  unexplained++;
  console.log(
    explanation === undefined
      ? `Unexplained, ${what}`
      : `Explained until ${explanation.expires} only, ${what}`,
  );
}
for (const { advisory, package: name } of explanations.filter(
  (each) => !found.has(`${each.advisory} ${each.package}`),
))
  console.log(`No more needed in ${explanationsFile}: ${advisory} of ${name}`);
console.log(`${found.size} high or critical advisories, ${unexplained} of them not explained.`);
process.exit(unexplained === 0 ? 0 : 1);

function isSerious({ severity }) {
  return severity === 'high' || severity === 'critical';
}

function idOf({ url, source }) {
  return /GHSA(?:-\w{4}){3}/.exec(url ?? '')?.[0] ?? String(source);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
