import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  bool,
  float,
  graph,
  int64,
  int64s,
  modelOf,
  node,
  tensor,
  uint8,
  valueInfo,
} from '../../models/testing/onnx-graph.js';
import { toForm, VersionFolders } from '../../models/testing/version-folders.js';
import { startSystem, type TestSystem } from '../system/start.js';

const secret = 'dist/secret-beside-the-server.txt';
const features = valueInfo('features', float, ['batch', 23]);
const score = valueInfo('probability', float, ['batch', 1]);

/** A model whose probability is `term`, whatever the features. */
function withTerm(term: Uint8Array[], more: Uint8Array[] = []): Uint8Array {
  const nothing = tensor(float, [1, 1], Buffer.alloc(4), 'nothing');
  return modelOf(
    graph(
      [
        node('ReduceSum', ['features', 'columns'], 'sum', { keepdims: { int: 1 } }),
        node('Mul', ['sum', 'nothing'], 'none'),
        ...term,
        node('Add', ['none', 'term'], 'probability'),
      ],
      [features],
      [score],
      [tensor(int64, [1], int64s(1), 'columns'), nothing, ...more],
    ),
  );
}

const byteOfFile = (offset: number): Uint8Array => tensor(uint8, [1], { location: secret, offset }, 'byte');
const toFloat = node('Cast', ['byte'], 'term', { to: { int: float } });

let system: TestSystem;
let modelsDir: string;
const folders = new VersionFolders();

beforeAll(async () => {
  // onnxruntime resolves files relative to the working directory of the process.
  await writeFile(secret, 'SECRET_TOKEN=hunter2\n');
  modelsDir = await mkdtemp(join(tmpdir(), 'millrace-hostile-'));
  system = await startSystem({ MODELS_DIR: modelsDir, API_KEYS: 'key-of-one,key-of-another' });
});

afterAll(async () => {
  await system.stop();
  await rm(modelsDir, { recursive: true });
  await rm(secret);
});

afterEach(() => folders.remove());

async function register(version: string, onnx: Uint8Array, key = 'key-of-one'): Promise<[number, string]> {
  const folder = await folders.make(version, { onnx });
  const response = await fetch(`${system.endpoints.http}/v1/models/credit-default/versions`, {
    method: 'POST',
    body: await toForm(folder),
    headers: { 'x-api-key': key },
  });
  return [response.status, ((await response.json()) as { detail?: string }).detail ?? ''];
}

describe('a graph that would read a file of the server', () => {
  const otherwise = graph(
    [node('Identity', ['byte'], 'out')],
    [],
    [valueInfo('out', uint8, [1])],
    [byteOfFile(7)],
  );
  it.each<[string, Uint8Array]>([
    ['as an initializer', withTerm([toFloat], [byteOfFile(0)])],
    [
      'as a constant',
      withTerm([node('Constant', [], 'byte', { value: { tensor: byteOfFile(3) } }), toFloat]),
    ],
    [
      'in a graph inside of a node',
      withTerm(
        [
          node('If', ['yes'], 'byte', {
            then_branch: { graph: otherwise },
            else_branch: { graph: otherwise },
          }),
          toFloat,
        ],
        [tensor(bool, [], Buffer.from([1]), 'yes')],
      ),
    ],
  ])('%s is refused, and reveals nothing of it', async (_where, onnx) => {
    const [status, detail] = await register('reads', onnx);
    expect(status).toBe(422);
    expect(detail).toContain(`weights are in another file, "${secret}"`);
    expect(detail).not.toMatch(/\d{2,}/);
    expect(await readdir(join(modelsDir, '.incoming'))).toEqual([]);
  });
});

describe('a graph that exhausts a resource', () => {
  /** Returns the highest resident memory of any process started by this one, MiB. */
  async function peakOfChildren(until: Promise<unknown>): Promise<number> {
    let peak = 0;
    const over = new AbortController();
    const end = () => over.abort();
    until.then(end, end);
    while (!over.signal.aborted) {
      for (const child of await childrenOf(process.pid)) {
        const status = await readFile(`/proc/${child}/status`, 'utf8').catch(() => '');
        peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
      }
    }
    return peak;
  }

  it('of memory is refused long before it is exhausted', { skip: process.platform !== 'linux' }, async () => {
    const size = tensor(int64, [1], int64s(1_500_000_000), 'size');
    const onnx = withTerm(
      [
        node('ConstantOfShape', ['size'], 'many'),
        node('ReduceMax', ['many'], 'term', { keepdims: { int: 1 } }),
      ],
      [size],
    );
    const answer = register('large', onnx);
    const peak = await peakOfChildren(answer);
    expect((await answer)[0]).toBe(422);
    expect(peak).toBeGreaterThan(10);
    expect(peak).toBeLessThan(700);
  });

  it('of time delays no other client', async () => {
    const endless = withTerm(
      [
        node('Loop', ['often', 'yes', 'one'], 'term', {
          body: {
            graph: graph(
              [node('Identity', ['go'], 'on'), node('Add', ['last', 'last'], 'next')],
              [valueInfo('i', int64, []), valueInfo('go', bool, []), valueInfo('last', float, [1])],
              [valueInfo('on', bool, []), valueInfo('next', float, [1])],
            ),
          },
        }),
      ],
      [
        tensor(int64, [], int64s(2n ** 62n), 'often'),
        tensor(bool, [], Buffer.from([1]), 'yes'),
        tensor(float, [1], Buffer.alloc(4), 'one'),
      ],
    );
    const stuck = register('endless', endless);
    await expect.poll(() => childrenOf(process.pid)).toHaveLength(1);
    const [endlessPid] = await childrenOf(process.pid);
    const good = await folders.make('good');
    const [status] = await register('good', await readFile(join(good, 'model.onnx')), 'key-of-another');
    expect(status).toBe(201);
    expect(await childrenOf(process.pid)).toEqual([endlessPid]);
    process.kill(Number(endlessPid), 'SIGKILL');
    expect((await stuck)[0]).toBe(422);
  });
});

async function childrenOf(pid: number): Promise<string[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const children = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')),
  );
  return children
    .join(' ')
    .split(' ')
    .filter((child) => child !== '');
}
