import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { MlflowClient, type MlflowClientOptions, parseReference } from './client.js';

// Tests a faulty server. tests/clients/mlflow tests a real one.

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server | undefined;

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function clientOf(handler: Handler, options: Partial<MlflowClientOptions> = {}): Promise<MlflowClient> {
  const listening = createServer(handler);
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { port } = listening.address() as AddressInfo;
  return new MlflowClient({ trackingUri: `http://127.0.0.1:${port}/`, ...options });
}

const version = { name: 'm', version: '1', source: '', run_id: '', description: '', tags: {} };
const json =
  (body: unknown, status = 200): Handler =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

describe('parseReference', () => {
  it.each([
    ['m@champion', { name: 'm', alias: 'champion' }],
    ['m/3', { name: 'm', version: '3' }],
    ['models:/credit default/12', { name: 'credit default', version: '12' }],
    ['models:/m@champion', { name: 'm', alias: 'champion' }],
    ['models:/m/Production', { name: 'm', alias: 'Production' }],
    ['m/latest', { name: 'm', alias: 'latest' }],
  ])('%s', (text, reference) => {
    expect(parseReference(text)).toEqual(reference);
  });

  it.each(['m', 'm@', '@a', 'm/', 'a/b/c', 'a@b@c', '', 'runs:/1/model'])('rejects %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'MLFLOW_REFERENCE_INVALID' }));
  });
});

it.each(['', 'sqlite:///m.db', 'databricks', '/tmp/mlruns'])('rejects the tracking URI %j', (trackingUri) => {
  expect(() => new MlflowClient({ trackingUri })).toThrow(
    expect.objectContaining({ code: 'MLFLOW_REFERENCE_INVALID' }),
  );
});

describe('a stage of an older server', () => {
  const versions = [{ name: 'm', version: '9' }, { name: 'm', version: '10' }]; // prettier-ignore
  const withStages =
    (found: unknown[], seen: URLSearchParams[] = []): Handler =>
    (request, response) => {
      const url = new URL(request.url ?? '', 'http://mlflow');
      const isStage = url.pathname.endsWith('/registered-models/get-latest-versions');
      if (isStage) seen.push(url.searchParams);
      const refusal = { error_code: 'INVALID_PARAMETER_VALUE', message: 'Registered model alias not found.' };
      (isStage ? json({ model_versions: found }) : json(refusal, 400))(request, response);
    };

  it.each([
    ['m@Production', 'Production'],
    ['m/staging', 'Staging'],
    ['models:/m/latest', null],
  ])('is found by %s: its newest version', async (reference, stages) => {
    const seen: URLSearchParams[] = [];
    const client = await clientOf(withStages(versions, seen));
    expect(await client.findVersion(parseReference(reference))).toMatchObject({ version: '10' });
    expect(seen.map((query) => query.get('stages'))).toEqual([stages]);
  });

  it('is reported if it has no version', async () => {
    const client = await clientOf(withStages([]));
    await expect(client.findVersion({ name: 'm', alias: 'Production' })).rejects.toMatchObject({
      code: 'MLFLOW_REFUSED',
      message: expect.stringContaining('no version of m in the stage Production') as string,
    });
  });

  it('is not queried for an unknown alias', async () => {
    const seen: URLSearchParams[] = [];
    const client = await clientOf(withStages(versions, seen));
    await expect(client.findVersion({ name: 'm', alias: 'chmpion' })).rejects.toMatchObject({
      code: 'MLFLOW_REFUSED',
    });
    expect(seen).toEqual([]);
  });
});

describe('it logs in', () => {
  const seen: (string | undefined)[] = [];
  const remember: Handler = (request, response) => {
    seen.push(request.headers.authorization);
    json({ model_version: { name: 'm', version: 1 } })(request, response);
  };

  it.each([
    ['not at all', {}, undefined],
    [
      'with a password',
      { username: 'ada', password: 'é:x' },
      `Basic ${Buffer.from('ada:é:x').toString('base64')}`,
    ],
    ['with a token', { token: 't', username: 'ada', password: 'x' }, 'Bearer t'],
  ])('%s', async (_name, options, expected) => {
    await (await clientOf(remember, options)).findVersion({ name: 'm', version: '1' });
    expect(seen.pop()).toBe(expected);
  });

  it('with the credentials in the URI, without showing them', async () => {
    const { server: address } = await clientOf(remember);
    const client = new MlflowClient({ trackingUri: address.replace('://', '://ada:se%3Acret@') });
    expect(client.server).toBe(address);
    await client.findVersion({ name: 'm', version: '1' });
    expect(seen.pop()).toBe(`Basic ${Buffer.from('ada:se:cret').toString('base64')}`);
  });
});

describe('a faulty server', () => {
  const find = async (handler: Handler, options: Partial<MlflowClientOptions> = {}): Promise<unknown> =>
    (await clientOf(handler, options)).findVersion({ name: 'm', alias: 'a' });

  it('fails', async () => {
    await expect(find(json({ message: 'disk full' }, 500))).rejects.toMatchObject({
      code: 'MLFLOW_UNREACHABLE',
      retriable: true,
      message: expect.stringContaining('disk full') as string,
    });
  });

  it('requires a password', async () => {
    await expect(find(json({}, 401))).rejects.toMatchObject({
      code: 'MLFLOW_REFUSED',
      message: expect.stringContaining('MLFLOW_TRACKING_USERNAME') as string,
    });
  });

  it('redirects, which is not followed', async () => {
    let asked = 0;
    const redirect: Handler = (_request, response) => {
      asked += 1;
      response.writeHead(302, { location: 'http://127.0.0.1:1/elsewhere' }).end();
    };
    await expect(find(redirect, { token: 'secret' })).rejects.toMatchObject({
      code: 'MLFLOW_REFUSED',
      message: expect.stringContaining('It redirects to http://127.0.0.1:1/elsewhere') as string,
    });
    expect(asked).toBe(1);
  });

  it('does not respond', async () => {
    await expect(find(() => undefined, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'MLFLOW_UNREACHABLE',
      retriable: true,
      message: expect.stringContaining('no data for 50 ms') as string,
    });
  });

  it('closes the connection during a response', async () => {
    const cut: Handler = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{"model_');
      setImmediate(() => response.destroy());
    };
    await expect(find(cut)).rejects.toMatchObject({ code: 'MLFLOW_UNREACHABLE', retriable: true });
  });

  it.each([
    ['a web page', '<html>'],
    ['something else', '{"model_version": {"name": 1}}'],
    ['nothing', ''],
  ])('answers with %s', async (_name, body) => {
    await expect(find((_request, response) => response.end(body))).rejects.toMatchObject({
      code: 'MLFLOW_ANSWER_INVALID',
    });
  });

  it('is unreachable', async () => {
    const client = await clientOf(json({}));
    server?.close();
    server?.closeAllConnections();
    await expect(client.findVersion({ name: 'm', version: '1' })).rejects.toMatchObject({
      code: 'MLFLOW_UNREACHABLE',
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
  });
});

describe('artifacts', () => {
  const serve =
    (uri: string, files: unknown[], content = 'content'): Handler =>
    (request, response) => {
      const url = new URL(request.url ?? '', 'http://mlflow');
      if (url.pathname.endsWith('get-download-uri')) json({ artifact_uri: uri })(request, response);
      else if (url.searchParams.has('path')) json({ files })(request, response);
      else response.end(`${content} of ${url.pathname}`);
    };

  it.each(['s3://bucket/model', 'file:///etc', 'mlflow-artifacts://elsewhere:5000/1/model', 'models:/m-1'])(
    'at %s are not fetched',
    async (uri) => {
      const client = await clientOf(serve(uri, []));
      await expect(client.openArtifacts(version)).rejects.toMatchObject({ code: 'MLFLOW_MODEL_UNFIT' });
    },
  );

  it('with unsafe names are skipped', async () => {
    const names = ['../up.onnx', '/etc/passwd', 'a/b.onnx', '..', '.hidden', 'c\\d', 'e\0f', 'model.onnx'];
    const client = await clientOf(
      serve(
        'mlflow-artifacts:/1/a b',
        names.map((path) => ({ path, is_dir: false })),
      ),
    );
    const artifacts = await client.openArtifacts(version);
    expect([...artifacts.files.keys()]).toEqual(['model.onnx']);
    expect(Buffer.from(await artifacts.download('model.onnx', 1000)).toString()).toBe(
      'content of /api/2.0/mlflow-artifacts/artifacts/1/a%20b/model.onnx',
    );
  });

  it('with an unsafe path are not fetched', async () => {
    const client = await clientOf(serve('mlflow-artifacts:/1/../../secret', [{ path: 'model.onnx' }]));
    const artifacts = await client.openArtifacts(version);
    await expect(async () => artifacts.download('model.onnx', 1000)).rejects.toMatchObject({
      code: 'MLFLOW_ANSWER_INVALID',
    });
  });

  it('that are too large are not fetched', async () => {
    const client = await clientOf(
      serve('mlflow-artifacts:/1', [{ path: 'model.onnx' }], 'x'.repeat(1_000_000)),
    );
    const artifacts = await client.openArtifacts(version);
    await expect(artifacts.download('model.onnx', 10_000)).rejects.toMatchObject({
      code: 'MLFLOW_MODEL_UNFIT',
    });
  });
});
