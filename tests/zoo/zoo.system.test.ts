import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelManifest, parseManifest } from '../../models/manifest.js';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { deviation, tolerance } from './deviation.js';
import { servedTable, type TableRow } from './served-table.js';
import { heldOutOf, trainZoo, type ZooModel } from './train-zoo.js';
import { ways } from './ways.js';

/** Models of one system. Each has a pipeline with its own topics. */
const modelsAtOnce = 32;

const { project, models } = await trainZoo();
const exported = models.filter(({ refused, failed }) => refused === undefined && failed === undefined);
const groups = Array.from({ length: Math.ceil(exported.length / modelsAtOnce) }, (_, group) =>
  exported.slice(group * modelsAtOnce, (group + 1) * modelsAtOnce),
);
const served = new Map<string, TableRow>();

afterAll(() => rm(project, { recursive: true, force: true }));

it('trains and exports every model, or says why it can’t be exported', () => {
  expect(models.filter(({ failed }) => failed !== undefined)).toEqual([]);
  expect(exported.length).toBeGreaterThan(50);
});

describe.each(groups.map((group, index) => ({ index, group })))('group $index', ({ group }) => {
  let system: TestSystem;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-zoo-group-'));
    for (const { name } of group) await copyPipeline(name, folder);
    system = await startSystem({ MILLRACE_PROJECT: folder, TOPIC_PARTITIONS: '1' });
  });

  afterAll(async () => {
    await system.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(group)('$name', async (model) => {
    const manifest = await manifestOf(model);
    const heldOut = heldOutOf(project, model.name);
    const events = heldOut.rows.map(({ event }) => event);
    const row = { model, manifest, problem: 'not served' };
    served.set(model.name, row);
    const deviations: Record<string, number> = {};
    for (const [way, send] of Object.entries(ways)) {
      const answers = await send(system, model.name, events, manifest.output.name);
      deviations[way] = deviation(answers, heldOut, manifest.output.classes);
    }
    expect(Object.entries(deviations).filter(([, each]) => !(each <= tolerance))).toEqual([]);
    served.set(model.name, { ...row, problem: undefined });
  });
});

it('serves what docs/models-served.md says', async () => {
  const rows = models.map(
    (model) => served.get(model.name) ?? { model, problem: model.refused ?? 'not tried' },
  );
  const page = join(packageRoot, 'docs', 'models-served.md');
  const written = await servedTable(rows);
  if (process.env['MILLRACE_WRITE'] === '1') await writeFile(page, written);
  expect(comparable(written)).toEqual(comparable(await readFile(page, 'utf8')));
});

/**
 * Rows of the page, without what may differ by machine: which precision is chosen, and the words of an error.
 */
function comparable(page: string): string[] {
  return [...page.matchAll(/^(\|.*\| (?:yes|no) +)\|/gm)].map(([, cells = '']) =>
    cells.replaceAll(/float(32|64)/g, 'float').replaceAll(/ +/g, ' '),
  );
}

async function manifestOf({ name }: ZooModel): Promise<ModelManifest> {
  const file = join(project, 'models', name, '1', 'model.json');
  return parseManifest(await readFile(file, 'utf8'), file);
}

async function copyPipeline(name: string, to: string): Promise<void> {
  const folders = [join('models', name), join('schemas', name), join('processors', 'pipelines', name)];
  for (const path of [...folders, join('examples', `${name}.jsonl`)]) {
    await cp(join(project, path), join(to, path), { recursive: true });
  }
}
