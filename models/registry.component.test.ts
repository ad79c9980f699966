import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../platform/paths.js';
import { listModels, openModel, readModel } from './registry.js';
import { copyModel, testingModels } from './testing/copy-model.js';

const sum = join(testingModels, 'sum', '1');
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-models-'));
});

afterEach(() => rm(root, { recursive: true }));

const addVersion = (version: string) => copyModel(sum, join(root, 'sum', version), { manifest: { version } });

describe('listModels', () => {
  it('lists names in order and the newest version first', async () => {
    await addVersion('9');
    await addVersion('10');
    await copyModel(sum, join(root, 'difference', '1'), { manifest: { name: 'difference' } });
    const models = await listModels(root);
    expect(models.map(({ name, version }) => `${name} ${version}`)).toEqual([
      'difference 1',
      'sum 10',
      'sum 9',
    ]);
  });

  it('skips folders of the shipped registry that are not models', async () => {
    const models = await listModels(join(packageRoot, 'models'));
    expect(models.map(({ name }) => name)).toContain('credit-default');
    expect(models.map(({ name }) => name)).not.toContain('training');
  });

  it('names a missing folder', async () => {
    await expect(listModels(join(root, 'nowhere'))).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: expect.stringContaining('nowhere'),
    });
  });
});

describe('openModel', () => {
  it('opens the newest version, numbers compared as numbers', async () => {
    await addVersion('9');
    await addVersion('10');
    expect(await openModel(root, 'sum')).toMatchObject({ version: '10', folder: join(root, 'sum', '10') });
    expect(await openModel(root, 'sum', '9')).toMatchObject({ version: '9', manifest: { name: 'sum' } });
  });

  it('lists names or versions if one is unknown', async () => {
    await addVersion('1');
    const notFound = { code: 'MODEL_NOT_FOUND' };
    await expect(openModel(root, 'product')).rejects.toMatchObject({
      ...notFound,
      message: expect.stringMatching(/Models: sum\./),
    });
    await expect(openModel(root, 'sum', '2')).rejects.toMatchObject({
      ...notFound,
      message: expect.stringMatching(/Versions: 1\./),
    });
  });

  it('does not leave its root', async () => {
    await copyModel(sum, join(root, 'outside', 'sum', '1'));
    await copyModel(sum, join(root, 'inside', 'sum', '1'));
    const inside = join(root, 'inside');
    await expect(openModel(inside, '../outside/sum')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
    await expect(openModel(inside, 'sum', '../../../outside/sum/1')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
    });
  });

  it('rejects a manifest in the folder of another version', async () => {
    await copyModel(sum, join(root, 'sum', '2'));
    await expect(openModel(root, 'sum')).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringMatching(/is of sum 1, but its folder is of sum 2/),
    });
  });
});

describe('readModel', () => {
  it('rejects a model.onnx with another digest than in model.json', async () => {
    const folder = await addVersion('1');
    await writeFile(join(folder, 'model.onnx'), 'something else');
    await expect(readModel(folder)).rejects.toMatchObject({
      code: 'MODEL_DIGEST_MISMATCH',
      retriable: false,
      message: expect.stringContaining(join(folder, 'model.onnx')),
    });
  });

  it.each(['model.json', 'model.onnx', 'golden.json'])('reports a missing %s', async (file) => {
    const folder = await addVersion('1');
    await rm(join(folder, file));
    await expect(readModel(folder)).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: expect.stringContaining(`Cannot read ${join(folder, file)}`),
    });
  });
});
