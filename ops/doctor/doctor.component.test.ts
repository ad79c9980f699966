import { createServer } from 'node:net';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startKafka } from '../../embedded/kafka/start.js';
import { describeWithRedis, RedisServer } from '../../platform/testing/redis-server.js';
import { silentLogger } from '../../platform/logger.js';
import { createStreams } from '../../streams/streams.js';
import { sinkGroup, systemTopics } from '../../streams/topics.js';
import { eventually } from '../../tests/contract/client.js';
import { killPrograms, startProgram } from '../../tests/system/programs.js';
import { startSystem, type TestSystem } from '../../tests/system/start.js';
import type { Finding } from './diagnosis.js';
import { diagnose } from './doctor.js';

const doneIn = { timeout: 60_000 };

let system: TestSystem;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-doctor-'));
  system = await startSystem();
});

afterAll(async () => {
  await killPrograms();
  await system.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What is wrong, the severest first. */
function wrong(findings: readonly Finding[]): string[] {
  const texts = findings.map(({ severity, area, what }) => `${severity} ${area}: ${what}`);
  return texts.filter((text) => !text.startsWith('ok')).toSorted();
}

/** Returns log end offsets and row counts, which the doctor must not change. */
async function stateOf({ endpoints, ...running }: TestSystem): Promise<unknown> {
  const streams = createStreams({ brokers: endpoints.kafka, clientId: 'test', logger: silentLogger });
  try {
    const topics = (await streams.topics()).toSorted();
    const ends = await Promise.all(
      topics.filter((topic) => !topic.startsWith('__')).map((topic) => streams.ends(topic)),
    );
    return {
      topics,
      ends,
      parts: await running.sql(
        "SELECT table, sum(rows) AS rows FROM system.parts WHERE database = 'millrace' AND active GROUP BY table ORDER BY table",
      ),
    };
  } finally {
    await streams.close();
  }
}

/** What the start itself has put on the log comes into the tables a moment later. */
async function whenStored({ endpoints }: TestSystem): Promise<void> {
  const streams = createStreams({ brokers: endpoints.kafka, clientId: 'test', logger: silentLogger });
  try {
    await eventually(async () =>
      (await streams.lag(sinkGroup, [systemTopics.models])).every(({ lag }) => lag === 0),
    );
  } finally {
    await streams.close();
  }
}

describe('a running system', () => {
  it('is healthy and unchanged by the checks', doneIn, async () => {
    await whenStored(system);
    const before = await stateOf(system);
    const program = startProgram('cli/main.js', ['doctor', '--json'], { DATA_DIR: system.dataDir });
    const exit = await program.exited;
    const { healthy, findings } = JSON.parse(program.output()) as { healthy: boolean; findings: Finding[] };
    expect(wrong(findings).filter((text) => !/ took \d+ ms |disk/.test(text))).toEqual([]);
    expect({ exit, healthy }).toEqual({ exit: 0, healthy: true });
    const areas = new Set(findings.map(({ area }) => area));
    for (const area of [
      'settings',
      'system',
      'log',
      'topics',
      'permissions',
      'groups',
      'registry',
      'clickhouse',
      'models',
      'disk',
      'clocks',
    ])
      expect(areas).toContain(area);
    expect(await stateOf(system)).toEqual(before);
  });

  it('is unhealthy when a table is missing', doneIn, async () => {
    const drop = (name: string): Promise<Response> =>
      fetch(system.endpoints.clickhouse, { method: 'POST', body: `DROP VIEW millrace.${name}` });
    await drop('ride_predictions');
    const findings = await diagnose({ DATA_DIR: system.dataDir });
    expect(wrong(findings)).toContain('error clickhouse: millrace.ride_predictions is missing');
  });
});

describe('unavailable engines', () => {
  const hanging: { server: Server; sockets: Set<Socket> }[] = [];
  afterEach(async () => {
    for (const { server, sockets } of hanging.splice(0)) {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    }
  });

  /** Takes connections and says nothing. */
  async function hangs(): Promise<string> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => sockets.add(socket.on('error', () => undefined))).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    hanging.push({ server, sockets });
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const secret = 'never-to-be-shown';

  it.each(['refuse connections', 'hang'])(
    'that %s are reported with a fix, within seconds and without secrets',
    doneIn,
    async (how) => {
      const at = how === 'hang' ? await hangs() : '127.0.0.1:9';
      const startedAt = performance.now();
      const findings = await diagnose({
        DATA_DIR: folder,
        KAFKA_BROKERS: at,
        KAFKA_SASL_MECHANISM: 'plain',
        KAFKA_SASL_USERNAME: 'me',
        KAFKA_SASL_PASSWORD: secret,
        SCHEMA_REGISTRY_URL: `http://me:${secret}@${at}`,
        CLICKHOUSE_URL: `http://${at}`,
        CLICKHOUSE_PASSWORD: secret,
        REDIS_URL: `redis://:${secret}@${at}`,
        RABBITMQ_URL: `amqp://me:${secret}@${at}`,
        MILLRACE_URL: `http://${at}`,
        MILLRACE_API_KEY: secret,
      });
      expect(performance.now() - startedAt).toBeLessThan(40_000);
      // That is the last resort, when a check does not end by itself.
      expect(JSON.stringify(findings)).not.toContain('no answer in 25 s');
      const errors = findings.filter(({ severity }) => severity === 'error');
      expect(new Set(errors.map(({ area }) => area))).toEqual(
        new Set(['log', 'registry', 'clickhouse', 'redis', 'rabbitmq', 'system']),
      );
      expect(errors.every(({ fix }) => fix !== null && fix.length > 10)).toBe(true);
      expect(JSON.stringify(findings)).not.toContain(secret);
    },
  );

  it('are reported for invalid settings and for an unused data folder', async () => {
    expect(wrong(await diagnose({ KAFKA_BROKERS: ',', CLICKHOUSE_PASSWORD: secret }))[0]).toContain(
      'KAFKA_BROKERS',
    );
    const errors = wrong(await diagnose({ DATA_DIR: folder }));
    expect(errors.filter((text) => text.includes('No system has run'))).toHaveLength(3);
  });
});

it('reports topics that would lose records, with a command to fix each', doneIn, async () => {
  const kafka = await startKafka({ dataDir: join(folder, 'log'), port: 0, registryPort: 0 });
  const brokers = `127.0.0.1:${kafka.port}`;
  const streams = createStreams({ brokers: [brokers], clientId: 'test', logger: silentLogger });
  try {
    await streams.createTopics([
      {
        name: 'credit-default.events',
        partitions: 4,
        config: { 'cleanup.policy': 'compact', 'retention.ms': '1000' },
      },
      {
        name: 'credit-default.predictions',
        partitions: 1,
        config: { 'retention.ms': '-1', 'retention.bytes': '5' },
      },
      { name: 'millrace.models', partitions: 1, config: { 'cleanup.policy': 'delete' } },
    ]);
    const findings = await diagnose({
      DATA_DIR: folder,
      KAFKA_BROKERS: brokers,
      SCHEMA_REGISTRY_URL: `http://127.0.0.1:${kafka.registryPort}`,
      CLICKHOUSE_URL: 'http://127.0.0.1:9',
    });
    const topics = findings.filter(({ area, severity }) => area === 'topics' && severity !== 'ok');
    const named = (text: string): Finding | undefined => topics.find(({ what }) => what.startsWith(text));
    expect(named('credit-default.events: cleanup.policy is compact')).toMatchObject({
      severity: 'error',
      fix: `kafka-configs --bootstrap-server ${brokers} --alter --entity-type topics --entity-name credit-default.events --add-config cleanup.policy=delete`,
    });
    expect(named('credit-default.events: retention.ms is 1000, not -1')).toMatchObject({
      severity: 'warning',
    });
    expect(named('credit-default.predictions: retention.bytes is 5')).toMatchObject({ severity: 'warning' });
    expect(named('credit-default.predictions has 1 partitions')).toMatchObject({ severity: 'warning' });
    expect(named('millrace.models: cleanup.policy is delete')).toMatchObject({ severity: 'error' });
    expect(named('Topics do not exist or are not visible')?.what).toContain('car-price.events');
    expect(findings.find(({ what }) => what.startsWith('Not registered yet'))).toMatchObject({
      area: 'registry',
    });
    expect(findings.find(({ what }) => what.startsWith('millrace-sink'))).toMatchObject({
      severity: 'warning',
    });
  } finally {
    await streams.close();
    await kafka.stop();
  }
});

describeWithRedis('Redis', () => {
  it('reports denied commands and leaves no key behind', doneIn, async () => {
    const redis = await RedisServer.start(
      '--user',
      'limited',
      'on',
      '>pw',
      '~millrace:*',
      '+@all',
      '-eval',
      '-info',
    );
    try {
      const url = `redis://limited:pw@127.0.0.1:${redis.port}`;
      const findings = (await diagnose({ DATA_DIR: folder, REDIS_URL: url })).filter(
        ({ area }) => area === 'redis',
      );
      expect(findings.map(({ severity, what }) => `${severity} ${what.split(':')[0]}`)).toEqual([
        expect.stringMatching(/^ok Redis answers/),
        'error Redis does not accept EVAL',
        'error Redis denies INFO',
      ]);
      const open = await diagnose({ DATA_DIR: folder, REDIS_URL: redis.url });
      expect(wrong(open).filter((text) => text.includes('redis'))).toEqual([]);
      expect(open.some(({ what }) => what.startsWith('Redis’s clock is'))).toBe(true);
    } finally {
      await redis.remove();
    }
  });
});
