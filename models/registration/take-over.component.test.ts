import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MemoryLog } from '../../ingest/testing/memory-log.js';
import { silentLogger } from '../../platform/logger.js';
import { SummingProject } from '../../processors/testing/summing-project.js';
import { ModelLifecycle } from '../lifecycle/lifecycle.js';
import { listVersions, openModel } from '../registry.js';
import { identityOf } from '../version-digest.js';
import { ModelRegistrar } from './registrar.js';
import { takeOver, type TakeOverOptions } from './take-over.js';

const model = 'm';
let project: SummingProject;
let options: TakeOverOptions;
let now: number;

beforeEach(async () => {
  project = await SummingProject.create(model);
  const { streams, serde } = new MemoryLog();
  now = 1_000;
  const lifecycle = await ModelLifecycle.open({
    streams,
    serde,
    logger: silentLogger,
    models: [model],
    now: () => now++,
  });
  const root = project.path('registered');
  const registrar = new ModelRegistrar({
    lifecycle,
    root,
    roots: [root, project.path('models')],
    sampleRows: () => [],
    logger: silentLogger,
  });
  options = { lifecycle, registrar, root };
  const { manifest } = await openModel(project.path('models'), model, '1');
  await lifecycle.seed(model, [identityOf(manifest)]);
});

afterEach(async () => {
  await options.lifecycle.close();
  await project.remove();
});

const take = (version: string, more: Parameters<typeof takeOver>[2] = {}) =>
  takeOver({ model, version, folder: project.path(`models/${model}/${version}`) }, options, more);
const champion = (): string | undefined => options.lifecycle.get(model).champion?.version;

it('takes a changed folder as a version of its own, and a new folder under its name', async () => {
  await project.train(model, '1', 'again');
  const { digest, version } = await take('1');
  expect(version).toBe(`1+${digest.slice(0, 12)}`);
  expect(champion()).toBe(version);
  const { manifest } = await openModel(options.root, model, version);
  expect(manifest.version).toBe(version);
  await project.train(model, '2', 'second');
  expect(await take('2')).toMatchObject({ version: '2' });
  expect(champion()).toBe('2');
});

it('takes another model.json of a version that an earlier release registered', async () => {
  const { manifest } = await openModel(project.path('models'), model, '1');
  const before = identityOf(manifest).digest;
  await options.lifecycle.unregister(model, '1', { force: true }, 'test');
  await options.lifecycle.seed(model, [{ version: '1', digest: manifest.digest }]);
  expect(await take('1')).toEqual({ digest: before });
  await project.change(`models/${model}/1/model.json`, {
    output: { ...manifest.output, meaning: 'another' },
  });
  const { digest, version } = await take('1', { before });
  expect(version).toBe(`1+${digest.slice(0, 12)}`);
  expect(champion()).toBe(version);
});

it('takes the content of an earlier version as that version', async () => {
  await project.copy(`models/${model}/1`, 'kept');
  await project.train(model, '1', 'again');
  const { digest: before } = await take('1');
  await project.copy('kept', `models/${model}/1`);
  expect(await take('1', { before })).toMatchObject({ version: '1' });
});

it('takes nothing when the content is the same', async () => {
  await project.train(model, '1', 'again');
  const { digest, version } = await take('1');
  await options.lifecycle.rollback(model, 'test');
  await utimes(join(project.path(`models/${model}/1`), 'model.json'), 1, 1);
  expect(await take('1', { before: digest })).toEqual({ digest });
  expect(champion()).not.toBe(version);
});

it('leaves a folder that can’t be read or that is of another model', async () => {
  await project.write(`models/${model}/1/model.onnx`, 'cut off');
  await expect(take('1')).rejects.toMatchObject({ code: 'MODEL_DIGEST_MISMATCH' });
  await project.train(model, '1', 'again');
  await project.change(`models/${model}/1/model.json`, { name: 'other' });
  await expect(take('1')).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  expect(champion()).toBe('1');
});

it('at the start takes what changed meanwhile, but not what is new or was rolled back from', async () => {
  await project.train(model, '2', 'second');
  expect((await take('2', { isStart: true })).version).toBeUndefined();
  expect((await take('1', { isStart: true })).version).toBeUndefined();
  await project.train(model, '1', 'again');
  const { version } = await take('1', { isStart: true });
  expect(version).toContain('1+');
  await options.lifecycle.rollback(model, 'test');
  expect((await take('1', { isStart: true })).version).toBeUndefined();
  expect(champion()).toBe('1');
});

it('at the start promotes what a killed process had only registered', async () => {
  await project.train(model, '1', 'again');
  const { version = '' } = await take('1');
  // As if the promotion had not been written.
  const { digest } = options.lifecycle.get(model).versions.get(version) ?? { digest: '' };
  await options.lifecycle.promote(model, '1', 'test');
  await options.lifecycle.unregister(model, version, {}, 'test');
  await options.lifecycle.register(model, { version, digest }, 'millrace/dev');
  expect(await take('1', { isStart: true })).toMatchObject({ version });
  expect(champion()).toBe(version);
});

it.each([
  ['another description', () => project.change(`models/${model}/1/model.json`, { description: 'Another.' })],
  [
    'other golden rows',
    () => project.change(`models/${model}/1/golden.json`, { rows: [{ features: [2, 2, 2], prediction: 6 }] }),
  ],
])('takes a version that was unregistered, whose folder is left, with %s', async (_, change) => {
  await project.train(model, '1', 'again');
  const { version = '' } = await take('1');
  await options.lifecycle.rollback(model, 'test');
  await options.lifecycle.unregister(model, version, {}, 'test');
  await change();
  expect(await take('1')).toMatchObject({ version });
  expect(champion()).toBe(version);
  const { manifest } = await openModel(options.root, model, version);
  const { description } = (await openModel(project.path('models'), model, '1')).manifest;
  expect(manifest.description).toBe(description);
});

it('takes a version of which a killed process left an incomplete folder', async () => {
  await project.train(model, '1', 'again');
  const { version = '' } = await take('1');
  await options.lifecycle.rollback(model, 'test');
  await options.lifecycle.unregister(model, version, {}, 'test');
  await project.remove(`registered/${model}/${version}/model.json`);
  expect(await take('1')).toMatchObject({ version });
  expect(await listVersions(options.root, model)).toEqual([version]);
});

it('keeps the last few versions of changed folders', { timeout: 60_000 }, async () => {
  const taken: string[] = [];
  for (let nth = 0; nth < 9; nth++) {
    await project.train(model, '1', `training ${nth}`);
    taken.push((await take('1')).version ?? '');
  }
  // Five that no alias names, the champion and the champion before.
  const kept = [...options.lifecycle.get(model).versions.keys()];
  expect(kept.toSorted()).toEqual(['1', ...taken.slice(-7)].toSorted());
  expect((await listVersions(options.root, model)).toSorted()).toEqual(taken.slice(-7).toSorted());
});
