import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { versionUpload } from '../testing/examples.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';

const model = '/v1/models/credit-default';

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp();
});
afterAll(() => api.stop());
afterEach(() => {
  api.log.failure = undefined;
});

async function codeOf(response: Response): Promise<[number, string]> {
  return [response.status, ((await response.json()) as { code: string }).code];
}

it('lists every version, and which serve', async () => {
  expect(await (await api.get('/v1/models')).json()).toMatchObject({
    models: ['car-price-a', 'car-price-b', 'car-price-c', 'credit-default', 'taxi-trip-duration'].map(
      (name) => ({ name, version: '1', serving: true, aliases: [{ alias: 'champion' }] }),
    ),
  });
});

it('describes a model and a version', async () => {
  expect(await (await api.get(model)).json()).toMatchObject({
    model: 'credit-default',
    champion: { version: '1', previous_version: null },
    challenger: null,
    versions: [{ version: '1', source: 'millrace/start' }],
    serving: { champion: { version: '1' }, problems: [] },
  });
  expect(await (await api.get(`${model}/versions/1`)).json()).toMatchObject({
    version: '1',
    manifest: { name: 'credit-default' },
    golden: { rows: expect.any(Array) as unknown[] },
  });
});

it.each(['/v1/models/nothing', `${model}/versions/9`, '/v1/models/nothing/versions/1'])(
  'answers 404 for %s',
  async (path) => expect(await codeOf(await api.get(path))).toEqual([404, 'MODEL_NOT_FOUND']),
);

it('registers the same version again without change', async () => {
  const response = await api.post(`${model}/versions`, versionUpload('credit-default'));
  expect([response.status, await response.json()]).toMatchObject([200, { version: '1', existed: true }]);
});

it.each([
  ['JSON', {}, 400, 'UPLOAD_INVALID'],
  ['a version of another model', versionUpload('car-price-a'), 422, 'MODEL_REFUSED'],
  [
    'other content under a version',
    versionUpload('credit-default', { description: 'other' }),
    409,
    'MODEL_CONFLICT',
  ],
])('refuses %s', async (_name, body, status, code) => {
  expect(await codeOf(await api.post(`${model}/versions`, body))).toEqual([status, code]);
});

it('refuses a file over the limit', async () => {
  const small = api.with({ maxModelBytes: 100 });
  const response = await small.post(`${model}/versions`, versionUpload('credit-default'));
  expect(await codeOf(response)).toEqual([413, 'BODY_TOO_LARGE']);
});

describe('aliases', () => {
  const champion = `${model}/aliases/champion`;
  const challenger = `${model}/aliases/challenger`;

  it('are unchanged after a command without effect', async () => {
    const response = await api.send('PUT', champion, { version: '1' });
    expect([response.status, await response.json()]).toMatchObject([200, { champion: { version: '1' } }]);
    expect((await api.send('DELETE', challenger)).status).toBe(200);
  });

  it.each([
    ['an unknown version', 'PUT', champion, { version: '9' }, 404, 'MODEL_NOT_FOUND'],
    ['no version', 'PUT', champion, {}, 400, 'REQUEST_INVALID'],
    ['an unknown member', 'PUT', champion, { version: '1', more: 1 }, 400, 'REQUEST_INVALID'],
    ['broken JSON', 'PUT', champion, '{', 400, 'JSON_INVALID'],
    ['a share over 1', 'PUT', challenger, { version: '1', canary_share: 2 }, 400, 'REQUEST_INVALID'],
    ['a rollback without an earlier champion', 'POST', `${model}/rollback`, undefined, 409, 'MODEL_CONFLICT'],
  ])('refuse %s', async (_name, method, path, body, status, code) => {
    expect(await codeOf(await api.send(method, path, body))).toEqual([status, code]);
  });

  it('answer 503 while the log is unavailable', async () => {
    api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
    expect(await codeOf(await api.send('PUT', champion, { version: '1' }))).toEqual([503, 'LOG_TIMEOUT']);
  });
});
