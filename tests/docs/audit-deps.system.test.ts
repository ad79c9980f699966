import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-audit-deps-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const advisory = {
  source: 1,
  name: 'left',
  title: 'Falls over',
  url: 'https://github.com/advisories/GHSA-aaaa-bbbb-cccc',
  severity: 'high',
  range: '<2.0.0',
};

/** Runs the script with an `npm` that gives this answer. */
function audit(answer: object, explanations: object[] = []) {
  writeFileSync(join(folder, 'npm'), `#!/bin/sh\ncat <<'END'\n${JSON.stringify(answer)}\nEND\nexit 1\n`);
  chmodSync(join(folder, 'npm'), 0o755);
  const file = join(folder, 'explanations.json');
  writeFileSync(file, JSON.stringify(explanations));
  const env = {
    ...process.env,
    PATH: `${folder}${delimiter}${process.env['PATH']}`,
    AUDIT_EXPLANATIONS: file,
  };
  const script = join(packageRoot, 'scripts', 'audit-deps.mjs');
  const { status, stdout } = spawnSync(process.execPath, [script], { env, encoding: 'utf8' });
  return { status, stdout };
}

const report = {
  vulnerabilities: {
    left: { via: [advisory] },
    right: { via: ['left', { ...advisory, name: 'low', severity: 'low' }] },
  },
};
const explanation = {
  advisory: 'GHSA-aaaa-bbbb-cccc',
  package: 'left',
  why: 'Never called.',
  expires: '2999-01-01',
};

it('passes without high advisories', () => {
  expect(audit({ vulnerabilities: {} })).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('0 high'),
  });
});

it('fails on a high advisory without an explanation', () => {
  expect(audit(report)).toMatchObject({
    status: 1,
    stdout: expect.stringMatching(/Unexplained, high: left[^]*1 high/),
  });
});

it('passes with an explanation, until that expires', () => {
  expect(audit(report, [explanation])).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('Never called'),
  });
  const expired = audit(report, [{ ...explanation, expires: '2020-01-01' }]);
  expect(expired).toMatchObject({ status: 1, stdout: expect.stringContaining('2020-01-01 only') });
});

it('reports explanations that are no longer needed', () => {
  expect(audit({ vulnerabilities: {} }, [explanation]).stdout).toContain('No more needed');
});

it('fails when the registry does not answer', () => {
  const refused = audit({ message: '405 Method Not Allowed', error: {} });
  expect(refused).toMatchObject({
    status: 75,
    stdout: expect.stringMatching(/NOT CHECKED[^]*405[^]*no pass/),
  });
});
