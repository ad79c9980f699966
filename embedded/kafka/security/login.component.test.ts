import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../broker.js';
import type { KafkaBrokerOptions } from '../broker.js';
import { hasOpenssl, makeCertificate } from '../testing/certificate.js';
import { ManualClock } from '../testing/manual-clock.js';
import { textBatch, WireClient } from '../testing/wire-client.js';

const run = promisify(execFile);
const hasKcat = spawnSync('kcat', ['-V']).status === 0;
const sasl = { users: { ada: 'the password' } };

let dataDir: string;
let broker: KafkaBroker;
let port: number;
let client: WireClient;
let logged: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-login-'));
  logged = '';
});

afterEach(async () => {
  client.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test('before the login only its own APIs are served, after it all', async () => {
  await start({ sasl });
  expect((await client.call(18, 0, () => undefined)).int16()).toBe(0);
  await expect(client.createTopic('t')).rejects.toThrow('closed');
  client = await WireClient.connect(port);
  expect(await handshake('PLAIN', 1)).toEqual({ errorCode: 0, mechanisms: allMechanisms });
  await expect(client.produce('t', 0, textBatch(['early']))).rejects.toThrow('closed');
  client = await WireClient.connect(port);
  await handshake('PLAIN', 1);
  expect(await sendToken('\0ada\0the password')).toBe(0);
  expect(await client.createTopic('t')).toBe(0);
  expect((await handshake('PLAIN', 1)).errorCode).toBe(34);
  expect(await client.produce('t', 0, textBatch(['fine']))).toMatchObject({ errorCode: 0 });
});

test.each([
  ['PLAIN', '\0ada\0the passwore'],
  ['PLAIN', '\0ada\0'],
  ['PLAIN', '\0nobody\0the password'],
  ['PLAIN', 'eve\0ada\0the password'],
  ['PLAIN', 'no separators'],
  ['SCRAM-SHA-256', 'p=tls-unique,,n=ada,r=nonce'],
  ['SCRAM-SHA-256', 'n,a=eve,n=ada,r=nonce'],
  ['SCRAM-SHA-512', 'n,,n=ada'],
  ['SCRAM-SHA-512', ''],
])('%s with %j is refused and closed, and neither name nor password is logged', async (mechanism, wrong) => {
  await start({ sasl });
  await handshake(mechanism, 1);
  expect(await sendToken(wrong)).toBe(58);
  await client.closed();
  expect(logged).toContain('it failed to log in');
  expect(logged).not.toContain('ada');
  expect(logged).not.toContain('passwor');
});

test.each(['ada', 'nobody'])(
  'a SCRAM proof that does not match is refused, for the user %s',
  async (user) => {
    await start({ sasl });
    await handshake('SCRAM-SHA-256', 1);
    const first = await token(`n,,n=${user},r=abc`);
    expect(first.errorCode).toBe(0);
    expect(first.text).toMatch(/^r=abc[\w-]{32},s=[\w+/]{22}==,i=4096$/);
    const nonce = first.text.split(',')[0];
    const proof = Buffer.alloc(32).toString('base64');
    expect(await sendToken(`c=biws,${nonce},p=${proof}`)).toBe(58);
    await client.closed();
  },
);

test('a token before the choice of a mechanism is out of order; an unsupported mechanism is named', async () => {
  await start({ sasl: { ...sasl, mechanisms: ['SCRAM-SHA-512'] } });
  expect(await sendToken('\0ada\0the password')).toBe(34);
  expect(await handshake('PLAIN', 1)).toEqual({ errorCode: 33, mechanisms: ['SCRAM-SHA-512'] });
});

test('tokens may come as bare frames, after a handshake of version 0', async () => {
  await start({ sasl });
  await handshake('PLAIN', 0);
  const bare = Buffer.from('\0ada\0the password');
  const length = Buffer.alloc(4);
  length.writeInt32BE(bare.length);
  expect((await client.exchange(Buffer.concat([length, bare]))).remaining).toBe(0);
  expect(await client.createTopic('t')).toBe(0);
});

test('requests after a failed login on the same connection are ignored', async () => {
  await start({ sasl });
  await handshake('PLAIN', 1);
  const tries = ['wrong', 'wrong again', 'the password'].map((password) => sendToken(`\0ada\0${password}`));
  expect(await tries[0]).toBe(58);
  for (const later of tries.slice(1)) await expect(later).rejects.toThrow('closed');
});

test('a client that does not log in in time is closed', async () => {
  const clock = new ManualClock();
  await start({ sasl, clock });
  await handshake('PLAIN', 1);
  clock.advance(31_000);
  await client.closed();
  expect(logged).toContain('it has not logged in in time');
});

test('without SASL settings a handshake is refused, and nothing else', async () => {
  await start({});
  expect(await handshake('PLAIN', 1)).toEqual({ errorCode: 34, mechanisms: [] });
  expect(await client.createTopic('t')).toBe(0);
});

test.skipIf(!hasOpenssl)(
  'a client without TLS is closed if TLS is required, with a reason (needs openssl)',
  async () => {
    await start({ tls: makeCertificate(dataDir).server });
    await expect(client.createTopic('t')).rejects.toThrow('closed');
    expect(logged).toContain('no TLS handshake');
  },
);

test('an invalid certificate is one clear error', async () => {
  await start({});
  const other = new KafkaBroker({ dataDir: join(dataDir, 'other'), port: 0, tls: { cert: 'x', key: 'y' } });
  await expect(other.start()).rejects.toMatchObject({ code: 'TLS_CERTIFICATE_UNUSABLE' });
});

for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']) {
  test.skipIf(!hasKcat || !hasOpenssl)(
    `kcat logs in with ${mechanism}, with and without TLS (needs kcat, openssl)`,
    async () => {
      const { server: tls, caFile } = makeCertificate(dataDir);
      for (const secure of [false, true]) {
        await start({ sasl, ...(secure ? { tls } : {}) });
        const protocol = secure ? 'SASL_SSL' : 'SASL_PLAINTEXT';
        const settings = {
          'security.protocol': protocol,
          'sasl.mechanisms': mechanism,
          'sasl.username': 'ada',
        };
        const all = { ...settings, 'sasl.password': 'the password', 'ssl.ca.location': caFile };
        const args = Object.entries(all).flatMap(([key, value]) => ['-X', `${key}=${value}`]);
        const { stdout } = await run('kcat', ['-L', '-b', `127.0.0.1:${port}`, ...args]);
        expect(stdout).toContain('1 brokers');
        if (!secure) await broker.stop();
      }
    },
  );
}

const allMechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'];

async function start(options: Partial<KafkaBrokerOptions>): Promise<void> {
  // Without the host's name: it could contain a user's name.
  const logger = pino({ level: 'debug', base: undefined }, { write: (line) => (logged += line) });
  broker = new KafkaBroker({ dataDir, port: 0, logger, ...options });
  ({ port } = await broker.start());
  client = await WireClient.connect(port);
}

async function handshake(
  mechanism: string,
  version: number,
): Promise<{ errorCode: number; mechanisms: string[] }> {
  const reader = await client.call(17, version, (writer) => writer.string(mechanism));
  return { errorCode: reader.int16(), mechanisms: reader.array(() => reader.string()) };
}

async function token(text: string): Promise<{ errorCode: number; text: string }> {
  const reader = await client.call(36, 1, (writer) => writer.byteString(Buffer.from(text)));
  const errorCode = reader.int16();
  reader.nullableString();
  return { errorCode, text: reader.byteString().toString() };
}

async function sendToken(text: string): Promise<number> {
  return (await token(text)).errorCode;
}
