import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withFloatOutput } from '../../models/onnx-file.js';
import { packageRoot } from '../../platform/paths.js';
import { systemTopics } from '../../streams/topics.js';
import { creditOnnx, toForm, VersionFolders } from '../../models/testing/version-folders.js';
import { type ServedApp, serveTestApp } from '../testing/served-app.js';

const event = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as object;
const model = '/v1/models/credit-default';
const key = 'a-key';
const headers = { 'x-api-key': key };

interface Alias {
  version: string;
  previous_version: string | null;
  model_event: number;
  model_event_at: string;
  shadow?: boolean;
  canary_share?: number;
}

/** Members of any answer that the tests check. */
type Answer = Aliases & { code: string; detail: string; model_version: string; model_event: number };

interface Aliases {
  champion: Alias;
  challenger: Alias | null;
}

let system: ServedApp;
let modelsDir: string;
const folders = new VersionFolders();

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'millrace-registered-'));
  system = await serveTestApp({ API_KEYS: key, MODELS_DIR: modelsDir });
  for (const [version, onnx] of [['2'], ['3', withFloatOutput(creditOnnx, 'score')]] as const) {
    const folder = await folders.make(version, onnx === undefined ? {} : { onnx });
    const body = await toForm(folder);
    const response = await fetch(`${system.http}${model}/versions`, {
      method: 'POST',
      body,
      headers,
    });
    if (response.status !== 201) throw new Error(await response.text());
  }
});

afterAll(async () => {
  await system.stop();
  await folders.remove();
  await rm(modelsDir, { recursive: true });
});

async function ask(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; answer: Answer }> {
  const response = await fetch(system.http + path, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, answer: (await response.json()) as Answer };
}

async function decide(method: string, path: string, body?: unknown): Promise<Aliases> {
  const { status, answer } = await ask(method, model + path, body);
  expect(status).toBe(200);
  return answer;
}

/** The version that answers a new event, and its alias event on the log. */
async function scoredBy(): Promise<{ model_version: string; model_event: number }> {
  const { answer } = await ask('POST', '/v1/pipelines/credit-default/predict', event);
  return answer;
}

const promote = (version: string) => decide('PUT', '/aliases/champion', { version });

describe('a promotion', () => {
  it('is on the log when it is answered, and this process scores with the version at once or soon', async () => {
    const before = await promote('1');
    const recordsBefore = system.log.of(systemTopics.models).length;
    const { champion } = await promote('2');
    expect(system.log.of(systemTopics.models)).toHaveLength(recordsBefore + 1);
    expect(champion).toMatchObject({ version: '2', previous_version: '1' });
    expect(champion.model_event).toBeGreaterThan(before.champion.model_event);
    await expect.poll(scoredBy).toMatchObject({ model_version: '2', model_event: champion.model_event });
  });

  it('of the current champion adds nothing', async () => {
    expect((await promote('2')).champion.model_event).toBe((await promote('2')).champion.model_event);
  });

  it('is rolled back, and rolled back again', async () => {
    await promote('1');
    await promote('2');
    expect((await decide('POST', '/rollback')).champion.version).toBe('1');
    await expect.poll(scoredBy).toMatchObject({ model_version: '1' });
    expect((await decide('POST', '/rollback')).champion.version).toBe('2');
  });

  it('of an unknown version changes nothing', async () => {
    await promote('1');
    const { status, answer } = await ask('PUT', `${model}/aliases/champion`, {
      version: '9',
    });
    expect([status, answer.code]).toEqual([404, 'MODEL_NOT_FOUND']);
    expect(answer.detail).toContain('Registered versions: 1, 2, 3');
    expect((await ask('GET', model)).answer.champion.version).toBe('1');
  });

  it('of a version that can’t be loaded keeps the previous one serving, and reports it', async () => {
    const { champion } = await promote('1');
    await expect.poll(scoredBy).toMatchObject({ model_event: champion.model_event });
    const folder = join(modelsDir, 'credit-default', '3');
    await rm(folder, { recursive: true });
    await promote('3');
    await expect
      .poll(async () => (await ask('GET', model)).answer)
      .toMatchObject({
        champion: { version: '3' },
        serving: {
          champion: { version: '1' },
          problems: [expect.stringContaining('credit-default 3') as string],
        },
      });
    expect(await scoredBy()).toMatchObject({ model_version: '1' });
    await decide('POST', '/rollback');
    await expect
      .poll(async () => (await ask('GET', model)).answer)
      .toMatchObject({ serving: { champion: { version: '1' }, problems: [] } });
  });
});

describe('a challenger', () => {
  it('is set, changed and removed', async () => {
    await promote('1');
    const set = await decide('PUT', '/aliases/challenger', { version: '2', shadow: true });
    expect(set.challenger).toMatchObject({ version: '2', shadow: true, canary_share: 0 });
    const changed = await decide('PUT', '/aliases/challenger', { version: '2', canary_share: 1 });
    expect(changed.challenger).toMatchObject({ version: '2', shadow: false, canary_share: 1 });
    await expect
      .poll(scoredBy)
      .toMatchObject({ model_version: '2', model_event: changed.challenger?.model_event });
    expect((await decide('DELETE', '/aliases/challenger')).challenger).toBeNull();
    await expect.poll(scoredBy).toMatchObject({ model_version: '1' });
  });

  it('is removed once it is promoted', async () => {
    await promote('1');
    await decide('PUT', '/aliases/challenger', { version: '2', canary_share: 0.5 });
    expect(await promote('2')).toMatchObject({ champion: { version: '2' }, challenger: null });
  });

  it('can’t be the champion', async () => {
    const { champion } = await promote('1');
    const again = await ask('PUT', `${model}/aliases/challenger`, {
      version: champion.version,
    });
    expect([again.status, again.answer.code]).toEqual([409, 'MODEL_CONFLICT']);
  });
});

describe('unregistering', () => {
  it('takes away a version, not the one that serves, and its predecessor serves after force', async () => {
    await promote('1');
    await promote('2');
    const refused = await ask('DELETE', `${model}/versions/2`);
    expect([refused.status, refused.answer.code]).toEqual([409, 'MODEL_CONFLICT']);
    expect(refused.answer.detail).toContain('promote another version first');
    const { champion } = await decide('DELETE', '/versions/2?force=true');
    expect(champion).toMatchObject({ version: '1', previous_version: null });
    await expect.poll(scoredBy).toMatchObject({ model_version: '1', model_event: champion.model_event });
    expect((await ask('DELETE', `${model}/versions/2`)).status).toBe(404);
    expect((await ask('PUT', `${model}/aliases/champion`, { version: '2' })).status).toBe(404);
  });
});

describe('a request', () => {
  it.each([
    ['PUT', '/aliases/champion', '{', 400, 'JSON_INVALID'],
    ['PUT', '/aliases/champion', {}, 400, 'REQUEST_INVALID'],
    ['PUT', '/aliases/champion', { version: 2 }, 400, 'REQUEST_INVALID'],
    ['PUT', '/aliases/champion', { version: '2', shadow: true }, 400, 'REQUEST_INVALID'],
    ['PUT', '/aliases/challenger', { version: '2', canary_share: 1.5 }, 400, 'REQUEST_INVALID'],
    ['PUT', '/aliases/challenger', { version: '2', canary_share: null }, 400, 'REQUEST_INVALID'],
    ['PUT', '/aliases/staging', { version: '2' }, 404, 'NOT_FOUND'],
    ['DELETE', '/aliases/champion', undefined, 404, 'NOT_FOUND'],
    ['GET', '/versions/..%2F..%2F1', undefined, 404, 'MODEL_NOT_FOUND'],
    ['GET', '/versions/9', undefined, 404, 'MODEL_NOT_FOUND'],
  ])('%s %s %j is answered with %i', async (method, path, body, status, code) => {
    expect(await ask(method, model + path, body)).toMatchObject({ status, answer: { code } });
  });

  it.each(['no-such-model', '..%2Fcredit-default', '__proto__'])(
    'about the model %s has no answer',
    async (name) => {
      for (const [method, path] of [
        ['GET', ''],
        ['POST', '/rollback'],
        ['DELETE', '/aliases/challenger'],
      ] as const) {
        expect((await ask(method, `/v1/models/${name}${path}`)).status).toBe(404);
      }
    },
  );

  it('requires a key like all others', async () => {
    for (const [method, path] of [
      ['GET', ''],
      ['POST', '/versions'],
      ['PUT', '/aliases/champion'],
      ['POST', '/rollback'],
    ] as const) {
      expect((await fetch(system.http + model + path, { method })).status).toBe(401);
    }
  });
});
