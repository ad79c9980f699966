import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../platform/paths.js';

const project = mkdtempSync(join(tmpdir(), 'millrace-generate-'));
const types = join(project, 'schemas', 'types.ts');
afterAll(() => rmSync(project, { recursive: true }));

beforeEach(() => {
  for (const name of ['schemas', 'processors']) rmSync(join(project, name), { recursive: true, force: true });
});

function contract(pipeline: string, type: unknown): void {
  const folder = join(project, 'schemas', pipeline);
  mkdirSync(folder, { recursive: true });
  const schema = { type: 'record', name: 'Reading', fields: [{ name: 'values', type }] };
  writeFileSync(join(folder, 'event.v1.avsc'), JSON.stringify(schema));
}

function generate(...options: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(packageRoot, 'dist', 'cli', 'main.js'), 'generate', ...options],
    { cwd: project, encoding: 'utf8', env: { ...process.env, MILLRACE_PROJECT: '' } },
  );
  return { status, output: stdout + stderr };
}

it('writes the types of a project from its contracts alone', () => {
  contract('pump', { type: 'array', items: 'double' });
  // A pipeline that can't be compiled, or needs the types that are to be written, doesn't matter.
  const pipeline = join(project, 'processors', 'pipelines', 'pump');
  mkdirSync(pipeline, { recursive: true });
  writeFileSync(
    join(pipeline, 'pipeline.ts'),
    'import type { Reading } from "../../../schemas/types.js"; const',
  );
  expect(generate()).toEqual({ status: 0, output: `${types} has the types of 1 contract.\n` });
  expect(readFileSync(types, 'utf8')).toContain('export interface Reading {\n  values: number[];\n}');
  rmSync(types);
  expect(generate(project)).toMatchObject({ status: 0 });
  expect(existsSync(types)).toBe(true);
});

it('writes nothing if a contract is refused', () => {
  contract('pump', { type: 'map', values: 'bytes' });
  expect(generate()).toMatchObject({
    status: 1,
    output: expect.stringContaining(
      'Reading.values[] has the Avro type "bytes". An event field is int,',
    ) as string,
  });
  expect(existsSync(types)).toBe(false);
});

it('says where contracts belong', () => {
  expect(generate()).toMatchObject({ status: 1, output: expect.stringContaining('no folder') as string });
});
