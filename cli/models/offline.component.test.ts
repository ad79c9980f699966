import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { changeModelOnLog } from '../../app/change-models.js';
import { startKafka } from '../../embedded/kafka/start.js';
import { loadConfig } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { createStreams } from '../../streams/streams.js';
import { systemTopicSpecs } from '../../streams/topics.js';
import { freePorts, startCommand } from '../../tests/system/programs.js';
import { type Finished, runCommand } from '../../tests/system/run-command.js';
import { modelsCommand } from './command.js';

const model = 'churn';
let folder: string;
let dataDir: string;
/** Nothing listens there. */
let port: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-offline-'));
  dataDir = join(folder, 'data');
  port = String((await freePorts('PORT')).PORT);
  await withLog((settings) => registerVersions(settings));
});

afterAll(() => rm(folder, { recursive: true }));

const models = (settings: Record<string, string>, ...args: string[]): Promise<Finished> =>
  runCommand(modelsCommand(), args, { DATA_DIR: dataDir, PORT: port, ...settings });

/** Runs an action while the log of the data folder runs, as an external one. */
async function withLog(action: (settings: Record<string, string>) => Promise<void>): Promise<void> {
  const log = await startKafka({
    dataDir: join(dataDir, 'log'),
    host: '127.0.0.1',
    port: 0,
    registryPort: 0,
    logLevel: 'silent',
  });
  try {
    await action({
      KAFKA_BROKERS: `127.0.0.1:${log.port}`,
      SCHEMA_REGISTRY_URL: `http://127.0.0.1:${log.registryPort}`,
    });
  } finally {
    await log.stop();
  }
}

/** Versions 1 to 3; 1 is the champion. */
async function registerVersions(settings: Record<string, string>): Promise<void> {
  const brokers = [settings['KAFKA_BROKERS'] ?? ''];
  const streams = createStreams({ brokers, clientId: 'test', logger: silentLogger });
  await streams.createTopics(systemTopicSpecs());
  await streams.close();
  const config = loadConfig({ DATA_DIR: dataDir, ...settings });
  await changeModelOnLog(config, model, async (lifecycle) => {
    const versions = ['3', '2', '1'].map((version) => ({ version, digest: version.repeat(64) }));
    for (const version of versions) await lifecycle.register(model, version, 'test');
    await lifecycle.promote(model, '1', 'test');
  });
}

interface Aliases {
  champion: { version: string; previous_version: string | null } | null;
  challenger: object | null;
}

/** Runs a command with `--json`. */
async function decide(settings: Record<string, string>, ...args: string[]): Promise<Aliases> {
  const { exit, output } = await models(settings, ...args, '--json');
  expect(exit, output).toBe(0);
  expect(output).toContain('does not answer: changed the log');
  return JSON.parse(output.split('\n').at(-1) ?? '') as Aliases;
}

describe('without an API', () => {
  it('changes the embedded log of a system that does not run', async () => {
    expect(await decide({}, 'promote', model, '2')).toMatchObject({
      champion: { version: '2', previous_version: '1' },
    });
    expect((await decide({}, 'rollback', model)).champion).toMatchObject({ version: '1' });
    await decide({}, 'challenge', model, '3', '--shadow');
    expect(await models({}, 'unregister', model, '3')).toMatchObject({
      exit: 1,
      output: expect.stringContaining('is the challenger') as string,
    });
    expect((await decide({}, 'clear', model)).challenger).toBeNull();
    expect((await decide({}, 'unregister', model, '3')).champion).toMatchObject({ version: '1' });
    expect(await models({}, 'promote', model, '3')).toMatchObject({
      exit: 1,
      output: expect.stringContaining('Registered versions: 2, 1') as string,
    });
  });

  it('changes an external log', async () => {
    await withLog(async (settings) => {
      await decide(settings, 'promote', model, '2');
      const { champion } = await decide(settings, 'unregister', model, '2', '--force');
      expect(champion).toMatchObject({ version: '1', previous_version: null });
      expect((await decide(settings, 'unregister', model, '1', '--force')).champion).toBeNull();
    });
  });

  it('changes nothing while another process has the data folder', async () => {
    const module = new URL('../../app/data-folder.js', import.meta.url).href;
    const program = `const { openDataFolder } = await import('${module}');
      await openDataFolder('${join(folder, 'held')}');
      console.log('held');
      setInterval(() => undefined, 1000);`;
    const holder = startCommand(process.execPath, ['--input-type=module', '-e', program], {});
    await vi.waitFor(() => expect(holder.output()).toContain('held'), { timeout: 20_000 });
    expect(await models({ DATA_DIR: join(folder, 'held') }, 'promote', model, '1')).toMatchObject({
      exit: 1,
      output: expect.stringContaining(`in use by process ${holder.pid}`) as string,
    });
    await holder.kill();
  });

  it('does not repeat a change that an API got, but did not answer', async () => {
    let requests = 0;
    const api = createServer((request) => {
      requests += 1;
      request.socket.destroy();
    }).listen(0, '127.0.0.1');
    await once(api, 'listening');
    const { port: PORT } = api.address() as AddressInfo;
    const { exit, output } = await models({ PORT: String(PORT) }, 'rollback', model);
    api.close();
    expect({ exit, requests }).toEqual({ exit: 1, requests: 1 });
    expect(output).toContain('does not answer');
    expect(output).not.toContain('changed the log');
  });

  it('does not look for a log beside an API that the settings name', async () => {
    const url = `http://127.0.0.1:${port}`;
    expect(await models({ MILLRACE_URL: url }, 'promote', model, '1')).toMatchObject({
      exit: 1,
      output: expect.stringContaining(`${url} does not answer`) as string,
    });
  });

  it('says so when there is no system', async () => {
    expect(await models({ DATA_DIR: join(folder, 'none') }, 'rollback', model)).toMatchObject({
      exit: 1,
      output: expect.stringContaining('No system has run on') as string,
    });
  });
});
