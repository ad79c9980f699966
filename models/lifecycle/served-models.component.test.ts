import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startKafka } from '../../embedded/kafka/start.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { systemTopics, systemTopicSpecs } from '../../streams/topics.js';
import { openModel } from '../registry.js';
import { createModelRuntime, type LoadedModel, type ModelRuntime } from '../runtime.js';
import { testingModels } from '../testing/copy-model.js';
import { writeSummingVersion } from '../testing/summing-version.js';
import { ModelLifecycle } from './lifecycle.js';
import { answerOf } from '../testing/answers.js';
import { ServedModels } from './served-models.js';
import { type ServedModel } from './model-slot.js';
import type { ModelManifest } from '../manifest.js';
import { versionDigest } from '../version-digest.js';

const source = join(testingModels, 'sum', '1');
let folder: string;
let log: Awaited<ReturnType<typeof startKafka>>;
let streams: Streams;
let serde: Serde;
let models = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-lives-'));
  log = await startKafka({ dataDir: join(folder, 'log'), port: 0, registryPort: 0 });
  streams = createStreams({ brokers: [`127.0.0.1:${log.port}`], clientId: 'test', logger: silentLogger });
  serde = new Serde(new SchemaRegistryClient({ url: `http://127.0.0.1:${log.registryPort}` }));
  await streams.createTopics(systemTopicSpecs());
});

afterAll(async () => {
  await streams.close();
  await log.stop();
  await rm(folder, { recursive: true });
});

/** Creates a model with registered versions 1, 2, … on disk, the first as champion. */
interface Life {
  model: string;
  root: string;
  lifecycle: ModelLifecycle;
  register(version: string): Promise<void>;
}

async function openLifecycle(model: string): Promise<ModelLifecycle> {
  const lifecycle = await ModelLifecycle.open({ streams, serde, logger: silentLogger, models: [model] });
  onTestFinished(() => lifecycle.close());
  return lifecycle;
}

/** @param digestOf - what is registered. Default: the digest of the graph, as in earlier releases. */
async function begin(versions = 1, digestOf = ({ digest }: ModelManifest): string => digest): Promise<Life> {
  const model = `model-${++models}`;
  const root = join(folder, 'models');
  const lifecycle = await openLifecycle(model);
  const register = async (version: string): Promise<void> => {
    const target = join(root, model, version);
    await writeSummingVersion(source, target, { name: model, version });
    const { manifest } = await openModel(root, model, version);
    await lifecycle.register(model, { version, digest: digestOf(manifest) }, 'test');
  };
  for (let version = 1; version <= versions; version++) await register(String(version));
  await lifecycle.promote(model, '1', 'test');
  return { model, root, lifecycle, register };
}

/** Creates the lifecycle, runtime and served models of another process. */
async function serve(life: Life): Promise<{ served: ServedModels; runtime: ModelRuntime }> {
  const runtime = createModelRuntime();
  onTestFinished(() => runtime.close());
  const served = await servedBy(runtime, life);
  await served.add(life.model);
  return { served, runtime };
}

async function servedBy(runtime: ModelRuntime, { model, root }: Life): Promise<ServedModels> {
  const served = new ServedModels({
    lifecycle: await openLifecycle(model),
    runtime,
    roots: [join(folder, 'not-there'), root],
    batching: { maxRows: 64, maxDelayMs: 0, maxInFlight: 2 },
    metrics: createMetrics(),
    logger: silentLogger,
  });
  onTestFinished(() => served.close());
  return served;
}

const championOf = ({ champion }: ServedModel): string => champion.version.manifest.version;

describe('served models', () => {
  it('keep the digest that was registered, also by an earlier release', async () => {
    const earlier = await begin();
    const { digest } = (await openModel(earlier.root, earlier.model)).manifest;
    expect((await serve(earlier)).served.get(earlier.model).champion.version.digest).toBe(digest);
    const life = await begin(1, versionDigest);
    const { version } = (await serve(life)).served.get(life.model).champion;
    expect(version.digest).toBe(versionDigest(version.manifest));
    expect(version.digest).not.toBe(version.manifest.digest);
  });

  it('serve no other threshold than was registered', async () => {
    const life = await begin(1, versionDigest);
    const { model, root } = life;
    const file = join(root, model, '1', 'model.json');
    const manifest = JSON.parse(await readFile(file, 'utf8')) as ModelManifest;
    const decision = { threshold: 12, below: 'small', at_or_above: 'large' };
    await writeFile(file, JSON.stringify({ ...manifest, output: { ...manifest.output, decision } }));
    const { served } = await serve(life);
    expect(served.problems()).toEqual([expect.stringContaining('it has changed since')]);
  });

  it('follow the changes of another process, with the event of each alias', async () => {
    const life = await begin(2);
    const { model, lifecycle } = life;
    const { served } = await serve(life);
    const first = served.get(model).champion;
    expect(first).toMatchObject({ event: lifecycle.get(model).champion?.event });
    await lifecycle.challenge(model, '2', { shadow: true, canaryShare: 0.25 }, 'test');
    await expect
      .poll(() => served.get(model).challenger)
      .toMatchObject({
        shadow: true,
        canaryShare: 0.25,
        event: lifecycle.get(model).challenger?.event,
        at: lifecycle.get(model).challenger?.at,
      });
    const challenger = served.get(model).challenger?.version;
    await lifecycle.promote(model, '2', 'test');
    await expect.poll(() => championOf(served.get(model))).toBe('2');
    expect(served.get(model).challenger).toBeUndefined();
    expect(served.get(model).champion.version).toBe(challenger);
    await lifecycle.rollback(model, 'test');
    await expect.poll(() => championOf(served.get(model))).toBe('1');
    expect(served.problems()).toEqual([]);
  });

  it('complete calls of the previous version, then end its threads', async () => {
    const life = await begin(2);
    const workers: Worker[] = [];
    const note = (worker: Worker): void => void workers.push(worker);
    process.on('worker', note);
    onTestFinished(() => void process.off('worker', note));
    const { served } = await serve(life);
    const [thread] = workers;
    const old = served.get(life.model).champion.version;
    const calls = Array.from({ length: 200 }, (_, index) => old.predict([[index, 1, 2]]));
    const retired = old.retire();
    await life.lifecycle.promote(life.model, '2', 'test');
    await expect.poll(() => championOf(served.get(life.model))).toBe('2');
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => [answerOf(index + 3)]));
    await retired;
    await expect.poll(() => thread?.threadId).toBe(-1);
  });

  it('keep and report the previous version while the new one cannot be loaded', async () => {
    const life = await begin(2);
    const { model, root, lifecycle } = life;
    const { served } = await serve(life);
    const before = served.get(model).champion;
    const onnx = join(root, model, '2', 'model.onnx');
    const { digest } = lifecycle.get(model).versions.get('2') ?? {};
    const whole = await openModel(root, model, '2');
    // An earlier release registered the digest of the graph.
    expect(whole.manifest.digest).toBe(digest);
    const bytes = await readFile(onnx);
    await writeFile(onnx, 'cut off');
    await lifecycle.promote(model, '2', 'test');
    await expect
      .poll(() => served.problems())
      .toEqual([expect.stringContaining(`${model} 2 cannot be loaded`)]);
    expect(served.get(model).champion).toBe(before);
    expect(await before.version.predict([[1, 2, 3]])).toEqual([answerOf(6)]);

    const restarted = (await serve(life)).served;
    expect(championOf(restarted.get(model))).toBe('1');
    expect(restarted.get(model).champion).toMatchObject({ event: -1, at: null });
    expect(restarted.problems()).toHaveLength(1);

    await writeFile(onnx, bytes);
    await expect.poll(() => championOf(served.get(model))).toBe('2');
    expect(served.problems()).toEqual([]);
    await expect.poll(() => championOf(restarted.get(model))).toBe('2');
  });

  it('fall back to the same version in every process', async () => {
    const life = await begin(3);
    const { model, root, lifecycle } = life;
    const { served } = await serve(life);
    await writeFile(join(root, model, '3', 'model.onnx'), 'cut off');
    for (const version of ['2', '1', '2', '3']) await lifecycle.promote(model, version, 'test');
    const restarted = (await serve(life)).served;
    for (const each of [served, restarted]) {
      await expect
        .poll(() => each.problems())
        .toEqual([expect.stringContaining(`${model} 3 cannot be loaded`)]);
      expect(championOf(each.get(model))).toBe('2');
    }
  });

  it('have no challenger while it cannot be loaded', async () => {
    const life = await begin(3);
    const { model, root, lifecycle } = life;
    const { served } = await serve(life);
    await lifecycle.challenge(model, '2', { canaryShare: 1 }, 'test');
    await expect.poll(() => served.get(model).challenger?.version.manifest.version).toBe('2');
    await rm(join(root, model, '3'), { recursive: true });
    await lifecycle.challenge(model, '3', { canaryShare: 1 }, 'test');
    await expect
      .poll(() => served.problems())
      .toEqual([expect.stringContaining(`${model} 3 cannot be loaded`)]);
    expect(served.get(model).challenger).toBeUndefined();
    await lifecycle.clearChallenger(model, 'test');
    await expect.poll(() => served.problems()).toEqual([]);
  });

  it('serve nothing without a version that can be loaded, until its folder is there again', async () => {
    const life = await begin(1);
    const { model, root } = life;
    await rename(join(root, model), join(root, 'away'));
    const { served } = await serve(life);
    expect(served.find(model)).toBeUndefined();
    expect(() => served.get(model)).toThrow(
      expect.objectContaining({
        code: 'MODEL_NOT_SERVED',
        retriable: true,
        message: expect.stringContaining(`${model} 1 cannot be loaded`) as string,
      }) as Error,
    );
    const changed: string[] = [];
    served.onChange((each) => changed.push(each));
    await rename(join(root, 'away'), join(root, model));
    await expect
      .poll(() => served.find(model)?.champion.version.manifest.version, { timeout: 10_000 })
      .toBe('1');
    expect(served.problems()).toEqual([]);
    expect(changed).toContain(model);
  });

  it('unload a model that is no longer used', async () => {
    const life = await begin(1);
    const { served } = await serve(life);
    const { version } = served.get(life.model).champion;
    served.remove(life.model);
    expect(served.find(life.model)).toBeUndefined();
    expect(await version.predict([[1, 2, 3]])).toEqual([expect.objectContaining({ code: 'MODEL_UNLOADED' })]);
  });

  it('unload a model that is no longer used before it has loaded', async () => {
    const life = await begin(1);
    const runtime = createModelRuntime();
    onTestFinished(() => runtime.close());
    const loaded: LoadedModel[] = [];
    const served = await servedBy(
      {
        ...runtime,
        async load(path) {
          const model = await runtime.load(path);
          loaded.push(model);
          served.remove(life.model);
          return model;
        },
      },
      life,
    );
    await served.add(life.model);
    expect(loaded).toHaveLength(1);
    await expect(loaded[0]?.predict([[1, 2, 3]])).rejects.toMatchObject({ code: 'MODEL_UNLOADED' });
  });
});

describe('a lifecycle', () => {
  it('skips invalid model events', async () => {
    const { model, lifecycle } = await begin(2);
    const producer = await streams.createProducer();
    const before = lifecycle.get(model);
    await producer.send([
      { topic: systemTopics.models, key: `${model}@champion`, value: Buffer.from('garbage') },
      { topic: systemTopics.models, key: 'nothing', value: null },
    ]);
    await lifecycle.catchUp();
    expect(lifecycle.get(model)).toBe(before);
    await lifecycle.promote(model, '2', 'test');
    expect(lifecycle.get(model).champion?.version).toBe('2');
  });

  it('runs commands in sequence, on the changes of other processes', async () => {
    const life = await begin(3);
    const { model, lifecycle } = life;
    const other = await openLifecycle(model);
    await Promise.all([lifecycle.promote(model, '2', 'test'), lifecycle.promote(model, '3', 'test')]);
    expect(lifecycle.get(model).champion).toMatchObject({ version: '3', previousVersion: '2' });
    const back = await other.rollback(model, 'test');
    expect(back.champion).toMatchObject({ version: '2', previousVersion: '3' });
  });

  it('has one result when two processes seed a model at once', async () => {
    const model = `model-${++models}`;
    const both = await Promise.all([openLifecycle(model), openLifecycle(model)]);
    const shipped = [{ version: '1', digest: 'd' }];
    await Promise.all(both.map((lifecycle) => lifecycle.seed(model, shipped)));
    await Promise.all(both.map((lifecycle) => lifecycle.catchUp()));
    const [one, two] = both.map((lifecycle) => lifecycle.get(model));
    expect(one).toEqual(two);
    expect(one?.champion?.version).toBe('1');
  });

  it('rejects unknown models', async () => {
    const { lifecycle } = await begin();
    await expect(lifecycle.promote('stranger', '1', 'test')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
    });
  });
});
