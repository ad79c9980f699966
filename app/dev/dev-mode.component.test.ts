/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { MemoryLog } from '../../ingest/testing/memory-log.js';
import { ModelRegistrar } from '../../models/registration/registrar.js';
import { createModelRuntime } from '../../models/runtime.js';
import { loadConfig } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { Health } from '../../platform/health.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import {
  modelRoots,
  type OpenPipelines,
  openPipelines,
  registeredModels,
} from '../../processors/pipelines/open-pipelines.js';
import { SummingProject } from '../../processors/testing/summing-project.js';
import type { Context } from '../context.js';
import { startDev } from './dev-mode.js';

let project: SummingProject;
let log: MemoryLog;
let opened: OpenPipelines;
let start: () => Promise<void>;

beforeEach(async () => {
  project = await SummingProject.create('known');
  log = new MemoryLog();
  const config = loadConfig({
    MILLRACE_PROJECT: project.folder,
    DATA_DIR: join(project.folder, '.millrace'),
  });
  const runtime = createModelRuntime();
  const { streams, serde } = log;
  const [metrics, logger] = [createMetrics(), silentLogger];
  opened = await openPipelines({ config, streams, serde, runtime, metrics, logger });
  onTestFinished(async () => {
    await opened.close();
    await runtime.close();
    await project.remove();
  });
  const { lifecycle, pipelines } = opened;
  const registrar = new ModelRegistrar({
    lifecycle,
    root: registeredModels(config),
    roots: modelRoots(config),
    sampleRows: () => [],
    logger,
  });
  start = async () => {
    const health = new Health();
    const context = { config, lifecycle, health, logger, pipelines, opened } as Partial<Context> as Context;
    const dev = await startDev(context, registrar);
    onTestFinished(() => dev.stop());
  };
});

const champion = (model: string): string | undefined => opened.lifecycle.state.get(model)?.champion?.version;
const until = (assertion: () => void): Promise<void> =>
  vi.waitFor(assertion, { timeout: 45_000, interval: 20 });

/**
 * Retrains a model that is watched, twice: all that was there before the second training has been looked at
 * then.
 */
async function lookedAt(): Promise<void> {
  for (const note of ['second', 'third']) {
    const before = champion('known');
    await project.train('known', '1', note);
    await until(() => expect(champion('known')).not.toBe(before));
  }
}

it('promotes no version that was there when a pipeline came', async () => {
  await start();
  await project.train('fresh', '9', 'ninth');
  await project.train('fresh', '10', 'tenth');
  await project.add('fresh');
  await until(() => expect(opened.pipelines.has('fresh')).toBe(true));
  await lookedAt();
  expect(champion('fresh')).toBe('10');
  // From now on one that comes is touched.
  await project.train('fresh', '8', 'eighth');
  await until(() => expect(champion('fresh')).toBe('8'));
});

it('leaves a model that was rolled back as it is when a pipeline comes to use it', async () => {
  const { lifecycle } = opened;
  await project.add('rolled');
  await project.train('rolled', '2', 'second');
  await project.remove('processors/pipelines/rolled');
  await start();
  await project.write('processors/pipelines/rolled/pipeline.json', {});
  await until(() => expect(champion('rolled')).toBe('2'));
  await lifecycle.promote('rolled', '1', 'test');
  await project.remove('processors/pipelines/rolled');
  await until(() => expect(lifecycle.models).not.toContain('rolled'));
  await project.train('rolled', '3', 'third');
  await project.write('processors/pipelines/other/pipeline.json', {
    contract: 'schemas/rolled',
    models: ['rolled'],
  });
  await until(() => expect(lifecycle.models).toContain('rolled'));
  await lookedAt();
  expect(champion('rolled')).toBe('1');
});

it('tries again at what could not be tried at the start', async () => {
  await project.train('known', '1', 'while nothing watched');
  log.failure = new MillraceError('LOG_UNAVAILABLE', 'The log is unavailable.', { retriable: true });
  await start();
  expect(champion('known')).toBe('1');
  log.failure = undefined;
  await until(() => expect(champion('known')).toMatch(/^1\+/));
});
