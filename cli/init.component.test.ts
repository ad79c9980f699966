import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { scorePipeline } from 'millrace/testing';
import { createProject } from './init.js';

const parent = await mkdtemp(join(tmpdir(), 'millrace-init-'));
afterAll(() => rm(parent, { recursive: true }));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(parent, 'My project '));
});

const read = async (file: string): Promise<string> => readFile(join(folder, file), 'utf8');
const packageOf = async (): Promise<unknown> => JSON.parse(await read('package.json'));

it('creates a project whose example can be scored', async () => {
  const { written, kept, notes } = await createProject(folder);
  expect([kept, notes]).toEqual([[], []]);
  for (const file of written) expect(await readdir(join(folder, file, '..'))).not.toEqual([]);
  const client = JSON.parse(await read('examples/credit-default.json')) as object;
  const { score } = await scorePipeline('credit-default', client, { project: folder });
  expect(score).toBeGreaterThan(0);
  expect(await packageOf()).toMatchObject({
    name: expect.stringMatching(/^my-project-[a-z0-9-]+$/) as string,
    private: true,
    type: 'module',
    scripts: { start: 'millrace up', test: 'node --test' },
    dependencies: { millrace: expect.stringMatching(/^file:/) as string },
  });
});

it('completes a package.json and keeps what it has', async () => {
  const there = {
    name: 'mine',
    scripts: { start: 'node mine.js', lint: 'oxlint', test: 'echo "Error: no test specified" && exit 1' },
    dependencies: { millrace: 'file:millrace.tgz', other: '1' },
  };
  await writeFile(join(folder, 'package.json'), JSON.stringify(there));
  await createProject(folder);
  expect(await packageOf()).toEqual({
    type: 'module',
    ...there,
    scripts: { start: 'node mine.js', lint: 'oxlint', test: 'node --test' },
  });
});

it('says that code needs another type of package, and keeps other files', async () => {
  await writeFile(join(folder, 'package.json'), '{"type": "commonjs"}');
  await writeFile(join(folder, 'README.md'), 'mine');
  const { kept, notes } = await createProject(folder);
  expect(notes).toEqual([expect.stringContaining('"type": "module"')]);
  expect([kept, await read('README.md')]).toEqual([['README.md'], 'mine']);
});

it('overwrites nothing, and writes nothing then', async () => {
  await createProject(folder);
  await rm(join(folder, 'models'), { recursive: true });
  await expect(createProject(folder)).rejects.toMatchObject({
    code: 'PROJECT_EXISTS',
    message: expect.stringContaining('schemas/credit-default') as string,
  });
  expect(await readdir(folder)).not.toContain('models');
});

it('names the line of a package.json that is not JSON', async () => {
  await writeFile(join(folder, 'package.json'), '{\n"name": }');
  await expect(createProject(folder)).rejects.toThrow(/package\.json:2: not JSON/);
  expect(await readdir(folder)).toEqual(['package.json']);
});
