import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { isUsable, loadPipelines, loadUsablePipelines } from './load-pipelines.js';

const parent = await mkdtemp(join(tmpdir(), 'load-pipelines-'));
afterAll(() => rm(parent, { recursive: true }));

let project: string;
beforeEach(async () => {
  project = await mkdtemp(join(parent, 'project-'));
});

const contract = {
  type: 'record',
  name: 'Order',
  fields: [{ name: 'amount', type: 'double' }],
};

async function write(path: string, content: string | object): Promise<string> {
  const file = join(project, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

const writeContract = (name: string) => write(`schemas/${name}/event.v1.avsc`, contract);
const code = (name: string, members = 'features: ({ amount }) => [amount]'): string =>
  `export const pipeline = { name: '${name}', ${members} };`;

/** The problem of the only pipeline. */
async function problem(): Promise<string> {
  const [loaded] = await loadPipelines(project);
  if (loaded === undefined || isUsable(loaded)) throw new Error('the pipeline has no problem');
  return `${loaded.problem.code}: ${loaded.problem.message}`;
}

describe('loadPipelines', () => {
  it('loads the pipelines of this checkout, with their contracts', async () => {
    const loaded = await loadUsablePipelines(packageRoot);
    expect(loaded.map(({ name, contract: { version } }) => [name, version])).toEqual([
      ['car-price', 1],
      ['credit-default', 1],
      ['taxi-trip-duration', 1],
    ]);
  });

  it('loads the others when one fails', async () => {
    for (const name of ['a', 'b', 'c']) await writeContract(name);
    await write('processors/pipelines/a/pipeline.js', code('a'));
    await write('processors/pipelines/b/pipeline.js', 'export const pipeline = {');
    await write('processors/pipelines/c/pipeline.js', code('c'));
    const loaded = await loadPipelines(project);
    expect(loaded.map((each) => [each.name, isUsable(each)])).toEqual([
      ['a', true],
      ['b', false],
      ['c', true],
    ]);
  });

  it('loads a changed file again, and an unchanged one once', async () => {
    await writeContract('a');
    const file = await write('processors/pipelines/a/pipeline.js', code('a'));
    const load = async () => (await loadUsablePipelines(project))[0]?.pipeline;
    const before = await load();
    expect(await load()).toBe(before);
    await write('processors/pipelines/a/pipeline.js', code('a', 'key: () => "one"'));
    await utimes(file, new Date(), new Date(Date.now() + 5_000));
    expect((await load())?.key?.({})).toBe('one');
  });

  it('refuses a folder without pipelines, and says where it looked', async () => {
    await expect(loadPipelines(project)).rejects.toMatchObject({
      code: 'PROJECT_INVALID',
      message: expect.stringContaining(`${project} is not a Millrace project`) as string,
    });
  });
});

describe('the problem of a pipeline', () => {
  it.each([
    ['an import that is missing', `import 'no-such-package'; ${code('a')}`, /no-such-package/],
    [
      'an error of its code',
      `throw new Error('no area'); ${code('a')}`,
      /pipeline\.js can’t be loaded: no area/,
    ],
    ['no export', 'export const other = 1;', /pipeline\.js has no export `pipeline`/],
    ['another name', code('b'), /the name 'b'.*Its folder is a/],
    ['a member that does not exist', code('a', 'feature: () => []'), /feature/],
    ['a member of another type', code('a', 'models: "x"'), /models: .*array/],
    ['a value where a function belongs', code('a', 'key: "id"'), /key: must be a function/],
  ])('is %s', async (_, source, expected) => {
    await writeContract('a');
    await write('processors/pipelines/a/pipeline.js', source);
    expect(await problem()).toMatch(expected);
    expect(await problem()).toMatch(/^PIPELINE_INVALID/);
  });

  it('is that the contract is missing', async () => {
    await write('processors/pipelines/a/pipeline.js', code('a'));
    expect(await problem()).toMatch(/^CONTRACT_INVALID: .*schemas\/a/);
  });

  it('is a contract with a type that an event can’t have', async () => {
    const fields = [{ name: 'amount', type: 'bytes' }];
    await write('schemas/a/event.v1.avsc', { ...contract, fields });
    await write('processors/pipelines/a/pipeline.js', code('a'));
    expect(await problem()).toMatch(/^CONTRACT_INVALID: .*amount/);
  });

  it('is that its folder is empty', async () => {
    await mkdir(join(project, 'processors/pipelines/a'), { recursive: true });
    expect(await problem()).toMatch(/has no pipeline\.json, pipeline\.js or pipeline\.ts/);
  });

  it.each(['shared', 'millrace', 'a b', 'ä'])('is the name %s', async (name) => {
    await write(`processors/pipelines/${name}/pipeline.js`, code(name));
    expect(await problem()).toMatch(/^PIPELINE_INVALID: A pipeline can’t have the name/);
  });
});

describe('TypeScript', () => {
  const typed = `const name: string = 'a'; export const pipeline = { name };`;

  it('runs as it is, or the message says what to do', async () => {
    await writeContract('a');
    await write('processors/pipelines/a/pipeline.ts', typed);
    const [loaded] = await loadPipelines(project);
    if ((process.features as { typescript?: unknown }).typescript) expect(loaded).toHaveProperty('pipeline');
    else
      expect(await problem()).toMatch(/Node 22\.18 or later, compile it .* pipeline\.js, .* pipeline\.json/);
  });

  it('is used compiled, unless the compiled file is older', async () => {
    await writeContract('a');
    const source = await write('processors/pipelines/a/pipeline.ts', typed);
    const compiled = await write(
      'dist/processors/pipelines/a/pipeline.js',
      code('a', 'key: () => "compiled"'),
    );
    await utimes(compiled, new Date(), new Date(Date.now() + 5_000));
    const [loaded] = await loadUsablePipelines(project);
    expect(loaded?.pipeline.key?.({})).toBe('compiled');
    await utimes(source, new Date(), new Date(Date.now() + 10_000));
    const [later] = await loadPipelines(project);
    if ((process.features as { typescript?: unknown }).typescript) expect(later).toHaveProperty('pipeline');
    else expect(await problem()).toMatch(/pipeline\.js is older/);
  });
});
