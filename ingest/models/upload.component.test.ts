import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { smokeTest } from '../../models/registration/smoke-test.js';
import { withFloatOutput } from '../../models/onnx-file.js';
import { withNote } from '../../models/testing/copy-model.js';
import type { GoldenRow } from '../../models/manifest.js';
import { creditOnnx, toForm, VersionFolders } from '../../models/testing/version-folders.js';
import { type ServedApp, serveTestApp } from '../testing/served-app.js';

const path = '/v1/models/credit-default/versions';
const maxBytes = 1_000_000;

let system: ServedApp;
let modelsDir: string;
const folders = new VersionFolders();

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'millrace-registered-'));
  // Far less than a model: versions have their own limit.
  const settings = { MODELS_DIR: modelsDir, MAX_MODEL_BYTES: String(maxBytes), MAX_BODY_BYTES: '10000' };
  system = await serveTestApp(settings);
});

afterAll(async () => {
  await system.stop();
  await rm(modelsDir, { recursive: true });
});

afterEach(() => folders.remove());

interface Answer {
  status: number;
  body: { code?: string; detail?: string; version?: string; digest?: string; existed?: boolean };
}

async function send(
  body: FormData | string,
  headers: Record<string, string> = {},
  to = path,
): Promise<Answer> {
  const response = await fetch(system.http + to, { method: 'POST', body, headers });
  return { status: response.status, body: (await response.json()) as Answer['body'] };
}

async function register(folder: string): Promise<Answer> {
  return send(await toForm(folder));
}

async function versions(): Promise<string[]> {
  const model = (await (await system.get('/v1/models/credit-default')).json()) as {
    versions: { version: string }[];
  };
  return model.versions.map(({ version }) => version);
}

/** Asserts that nothing of a refused upload remains. */
async function expectNothingNew(before: readonly string[]): Promise<void> {
  expect(await versions()).toEqual(before);
  const staging = join(modelsDir, '.incoming');
  await expect.poll(async () => (existsSync(staging) ? readdir(staging) : [])).toEqual([]);
}

/** A field of Protocol Buffers with bytes. */
function field(number: number, content: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
}

describe('an uploaded version', () => {
  it('is refused when its weights would be read from elsewhere', async () => {
    const before = await versions();
    const location = Buffer.concat([field(1, 'location'), field(2, '../../../../etc/hostname')]);
    const weights = Buffer.concat([field(8, 'w'), field(13, location)]);
    const onnx = Buffer.concat([creditOnnx, field(7, field(5, weights))]);
    expect(await register(await folders.make('elsewhere', { onnx }))).toMatchObject({
      status: 422,
      body: { code: 'MODEL_REFUSED', detail: expect.stringContaining('"../../../../etc/hostname"') },
    });
    await expectNothingNew(before);
  });

  it('is registered once, whole, and known from then on', async () => {
    const folder = await folders.make('once');
    const first = await register(folder);
    expect(first).toMatchObject({
      status: 201,
      body: { version: 'once', existed: false, sample_events: 32 },
    });
    expect(await register(folder)).toMatchObject({
      status: 200,
      body: { version: 'once', existed: true, sample_events: null },
    });
    for (const file of await readdir(folder)) {
      const there = await readFile(join(modelsDir, 'credit-default', 'once', file));
      expect(there.equals(await readFile(join(folder, file)))).toBe(true);
    }
    const detail = await (await system.get(`${path}/once`)).json();
    expect(detail).toMatchObject({ digest: first.body.digest, manifest: { version: 'once' } });
    expect(await (await system.get('/v1/models')).json()).toMatchObject({
      models: expect.arrayContaining([
        expect.objectContaining({ version: 'once', serving: false }),
      ]) as unknown,
    });
  });

  it('has its origin, if its sender gives one', async () => {
    const form = await toForm(await folders.make('from-elsewhere'));
    form.set('source', 'http://registry.example model@champion');
    expect(await send(form)).toMatchObject({
      status: 201,
      body: { source: 'http://registry.example model@champion' },
    });
  });

  it('may give a column for each class, and name the score', async () => {
    const runtime = (await manifestOf(await folders.make('source')))['runtime'] as object;
    const make = (version: string, output_column: number, more: object = {}) =>
      folders.make(version, {
        onnx: withNote(withFloatOutput(creditOnnx, 'column'), version),
        manifest: { runtime: { ...runtime, output_tensor: 'column', output_column, ...more } },
      });
    expect(await register(await make('column', 0))).toMatchObject({ status: 201 });
    const refused = (detail: string) => ({
      status: 422,
      body: { code: 'MODEL_REFUSED', detail: expect.stringContaining(detail) as string },
    });
    expect(await register(await make('no-column', 1))).toMatchObject(refused('has no column 1'));
    expect(await register(await make('double', 0, { input_dtype: 'float64' }))).toMatchObject(
      refused('is not float64, as model.json says'),
    );
  });

  it('never changes: other content under its name is a conflict', async () => {
    await register(await folders.make('fixed'));
    const otherGraph = await folders.make('fixed', { onnx: withFloatOutput(creditOnnx, 'score') });
    expect(await register(otherGraph)).toMatchObject({ status: 409, body: { code: 'MODEL_CONFLICT' } });
    const otherCard = await folders.make('fixed', { manifest: { description: 'Another one.' } });
    expect(await register(otherCard)).toMatchObject({ status: 409, body: { code: 'MODEL_CONFLICT' } });
    const twin = await folders.make('fixed-twin', {
      onnx: await readFile(join(await folders.make('fixed'), 'model.onnx')),
    });
    expect(await register(twin)).toMatchObject({ status: 409, body: { code: 'MODEL_CONFLICT' } });
    expect(existsSync(join(modelsDir, 'credit-default', 'fixed-twin'))).toBe(false);
  });

  it('is another one with another threshold, of the same graph', async () => {
    const source = await folders.make('threshold-a');
    const first = await register(source);
    const onnx = await readFile(join(source, 'model.onnx'));
    const output = { ...((await manifestOf(source))['output'] as object) } as { decision: object };
    const decision = { ...output.decision, threshold: 0.125 };
    const changed = { onnx, manifest: { output: { ...output, decision } } };
    const second = await register(await folders.make('threshold-b', changed));
    expect(second).toMatchObject({ status: 201, body: { existed: false } });
    expect(second.body.digest).not.toBe(first.body.digest);
    expect(await register(await folders.make('threshold-c', changed))).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('already registered as credit-default threshold-b') as string },
    });
  });

  it('is accepted or refused as a whole against a concurrent one of the same name', async () => {
    const one = await folders.make('raced', { manifest: { description: 'One.' } });
    const other = await folders.make('raced', { onnx: withFloatOutput(creditOnnx, 'score') });
    const answers = await Promise.all([register(one), register(other)]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409]);
  });
});

describe('a version that could not replace the champion is refused', () => {
  const cases: [string, () => Promise<string>, RegExp][] = [
    [
      'a changed graph',
      async () => {
        const folder = await folders.make('bad');
        await writeFile(join(folder, 'model.onnx'), creditOnnx.subarray(0, -1));
        return folder;
      },
      /SHA-256/,
    ],
    [
      'no graph at all',
      () => folders.make('bad', { onnx: Buffer.from('MZ this is a program') }),
      /ONNX model is invalid/,
    ],
    [
      'golden rows that are not reproduced',
      async () => {
        const [row] = await goldenOf(await folders.make('source'));
        return folders.make('bad', { golden: [{ features: row?.features ?? [], prediction: 0.5 }] });
      },
      /golden row 0/,
    ],
    ['no golden rows', () => folders.make('bad', { golden: [] }), /golden\.json is invalid/],
    [
      'inputs in another order',
      async () => {
        const inputs = await inputsOf(await folders.make('source'));
        return folders.make('bad', { manifest: { inputs: inputs.toReversed() } });
      },
      /input 0 is PAY_AMT6, the champion’s is LIMIT_BAL/,
    ],
    [
      'another output',
      () =>
        folders.make('bad', {
          manifest: { output: { name: 'income', dtype: 'float32', meaning: 'dollars' } },
        }),
      /output is income/,
    ],
    [
      'other labels',
      () =>
        folders.make('bad', {
          manifest: { output: { name: 'probability_of_default', dtype: 'float32', meaning: 'x' } },
        }),
      /labels are none/,
    ],
    [
      'a score that is no probability any more',
      async () => {
        const golden = await goldenOf(await folders.make('source'));
        const manifest = await manifestOf(await folders.make('source'));
        return folders.make('bad', {
          onnx: withNote(withFloatOutput(creditOnnx, 'score'), 'no probability'),
          golden: golden.map(({ features, prediction: p }) => ({
            features,
            prediction: Math.log(p / (1 - p)),
          })),
          manifest: { runtime: { ...(manifest.runtime as object), output_tensor: 'score' } },
        });
      },
      /is a probability/,
    ],
    [
      'a card of another model',
      () => folders.make('bad', { manifest: { name: 'car-price' } }),
      /is of model car-price/,
    ],
    [
      'a card that is no JSON',
      async () => {
        const folder = await folders.make('bad');
        await writeFile(join(folder, 'model.json'), '{');
        return folder;
      },
      /model\.json is invalid: not JSON/,
    ],
    ...['../../escaped', 'a/b', '.hidden', '-rf', 'x'.repeat(101), 'nul\0', '..'].map(
      (version) =>
        [
          `the version ${JSON.stringify(version).slice(0, 20)}`,
          () => folders.make(version),
          /Invalid version/,
        ] as [string, () => Promise<string>, RegExp],
    ),
  ];

  it.each(cases)('%s', async (_name, make, detail) => {
    const before = await versions();
    const answer = await register(await make());
    expect(answer).toMatchObject({ status: 422, body: { detail: expect.stringMatching(detail) as string } });
    expect(answer.body.detail).not.toContain(modelsDir);
    await expectNothingNew(before);
  });

  it('numeric inputs for text inputs of the champion', async () => {
    const to = '/v1/models/car-price-a/versions';
    const whole = await folders.make('2', {}, 'car-price-a');
    expect(await send(await toForm(whole), {}, to)).toMatchObject({ status: 201 });
    const inputs = (await inputsOf(whole)).map((input) => ({
      ...(input as object),
      encoding: undefined,
      unknown: undefined,
    }));
    const numbers = await folders.make('3', { manifest: { inputs } }, 'car-price-a');
    expect(await send(await toForm(numbers), {}, to)).toMatchObject({
      status: 422,
      body: {
        detail: expect.stringContaining('input fuel_type takes numbers, the champion’s takes text') as string,
      },
    });
    const unknown = (await inputsOf(whole)).map((input) => ({
      ...(input as object),
      encoding: { nothing: 1 },
      unknown: undefined,
    }));
    const narrow = await folders.make('4', { manifest: { inputs: unknown } }, 'car-price-a');
    expect(await send(await toForm(narrow), {}, to)).toMatchObject({ status: 422 });
  });

  it('a graph that does not end', async () => {
    const folder = await folders.make('endless');
    const trial = { folder, rows: [] };
    await expect(smokeTest(trial, { timeoutMs: 1 })).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringContaining('not loaded and tested within 0.001 s') as string,
    });
    expect(await smokeTest(trial)).toEqual([]);
  });
});

describe('an invalid upload', () => {
  const multipart = { 'content-type': 'multipart/form-data; boundary=b' };
  const part = (name: string, content: string): string =>
    `--b\r\ncontent-disposition: form-data; name="${name}"; filename="../../${name}"\r\n\r\n${content}\r\n`;

  const cases: [string, FormData | string, Record<string, string>, number][] = [
    ['JSON', '{}', { 'content-type': 'application/json' }, 400],
    ['no boundary', 'x', { 'content-type': 'multipart/form-data' }, 400],
    ['nothing', '', multipart, 400],
    ['cut off', part('model.onnx', 'x').slice(0, -10), multipart, 400],
    ['one file of three', `${part('model.onnx', 'x')}--b--\r\n`, multipart, 400],
    ['a file twice', `${part('model.onnx', 'x')}${part('model.onnx', 'y')}--b--\r\n`, multipart, 400],
    ['a file that leads elsewhere', `${part('../model.onnx', 'x')}--b--\r\n`, multipart, 400],
    [
      'empty files',
      `${['model.onnx', 'model.json', 'golden.json'].map((name) => part(name, '')).join('')}--b--\r\n`,
      multipart,
      400,
    ],
    [
      'a thousand parts',
      `${part('model.json', '{}')}${'--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n1\r\n'.repeat(1000)}--b--\r\n`,
      multipart,
      400,
    ],
    ['too large', `${part('model.onnx', 'x'.repeat(maxBytes + 1))}--b--\r\n`, multipart, 413],
  ];

  it.each(cases)('%s', async (_name, body, headers, status) => {
    const before = await versions();
    const answer = await send(body, headers);
    expect(answer).toMatchObject({
      status,
      body: { code: status === 413 ? 'BODY_TOO_LARGE' : 'UPLOAD_INVALID' },
    });
    await expectNothingNew(before);
  });

  it.each(['no-such-model', '..%2F..%2Fescaped', '.incoming'])('for the model %s', async (name) => {
    const form = await toForm(await folders.make('1.1'));
    expect(await send(form, {}, `/v1/models/${name}/versions`)).toMatchObject({
      status: 404,
      body: { code: 'MODEL_NOT_FOUND' },
    });
  });

  it('whose sender disconnects leaves nothing behind', async () => {
    const before = await versions();
    const { hostname, port } = new URL(system.http);
    const upload = request({
      hostname,
      port,
      path,
      method: 'POST',
      headers: { ...multipart, 'content-length': 100_000 },
    });
    upload.on('error', () => undefined);
    upload.write(part('model.onnx', 'x'.repeat(1000)));
    const staging = join(modelsDir, '.incoming');
    await expect.poll(async () => (await readdir(staging)).length).toBe(1);
    upload.destroy();
    await expectNothingNew(before);
  });
});

async function manifestOf(folder: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(folder, 'model.json'), 'utf8')) as Record<string, unknown>;
}

async function inputsOf(folder: string): Promise<unknown[]> {
  return (await manifestOf(folder))['inputs'] as unknown[];
}

async function goldenOf(folder: string): Promise<GoldenRow[]> {
  return (JSON.parse(await readFile(join(folder, 'golden.json'), 'utf8')) as { rows: GoldenRow[] }).rows;
}
