import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { RabbitClient } from '../../bridges/rabbitmq/testing/rabbit-client.js';
import { kafkaSettings } from '../../app/connections.js';
import { hasOpenssl } from '../../embedded/kafka/testing/certificate.js';
import { loadConfig } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { createStreams } from '../../streams/streams.js';
import { describeApacheKafka } from './engines/apache-kafka.js';
import { replaceCertificate } from './engines/certificates.js';
import { rabbitMqInstalled } from './engines/rabbitmq-server.js';
import { canaries, type SecuredEngines, startSecuredEngines } from './engines/secured-engines.js';
import { runsAll } from './size.js';
import { freePorts, killPrograms, type Program, readiness, startProgram, whenReady } from './programs.js';

const missing = [...(hasOpenssl ? [] : ['openssl']), ...(rabbitMqInstalled ? [] : ['rabbitmq-server'])];
const title = `secured engines${missing.length === 0 ? '' : ` NEED ${missing.join(', ')} (apt-get install)`}`;

// Takes a minute or two: `npm run test:secured`.
(runsAll ? describeApacheKafka : describe.skip)(title, () => {
  let engines: SecuredEngines;
  let system: Program;
  let http: string;
  const programs: Program[] = [];
  const answers: string[] = [];

  /** Starts a part of Millrace on the secured engines, with some wrong settings. */
  async function start(
    args: string[],
    wrong: Record<string, string> = {},
  ): Promise<{ program: Program; url: string }> {
    const { port } = await freePorts('port');
    const program = startProgram('cli/main.js', args, {
      ...engines.settings,
      PORT: String(port),
      DATA_DIR: join(engines.folder, `data-${port}`),
      API_KEYS: canaries.apikey,
      MILLRACE_API_KEY: canaries.apikey,
      LOG_LEVEL: 'trace',
      ...wrong,
    });
    programs.push(program);
    return { program, url: `http://127.0.0.1:${port}` };
  }

  async function ask(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(http + path, init);
    answers.push(JSON.stringify([...response.headers]), await response.clone().text());
    return response;
  }

  const client = readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8');
  const authorized = { 'x-api-key': canaries.apikey, 'content-type': 'application/json' };
  const withPassword = (url: string | undefined, password: string): string => {
    const changed = new URL(url ?? '');
    changed.password = encodeURIComponent(password);
    return changed.href;
  };

  beforeAll(async () => {
    engines = await startSecuredEngines();
    ({ program: system, url: http } = await start(['up', '--no-demo']));
    await whenReady(system, http, 120_000);
  }, 240_000);

  afterAll(async () => {
    await killPrograms();
    await engines?.stop();
  }, 60_000);

  it('carry the whole system at once', async () => {
    for (const part of ['log', 'registry', 'clickhouse', 'redis', 'rabbitmq'])
      await expect
        .poll(async () => (await readiness(http)).parts[part], { message: part })
        .toEqual({ status: 'up' });
    const predicted = await ask('/v1/pipelines/credit-default/predict', {
      method: 'POST',
      headers: authorized,
      body: client,
    });
    expect(predicted.status).toBe(200);
    const rabbit = await RabbitClient.connect(engines.rabbitMq.url);
    await rabbit.send(client, { messageId: 'over-amqps' });
    await rabbit.close();
    const rows = 'SELECT source FROM millrace.predictions ORDER BY source FORMAT TSV';
    await vi.waitFor(
      async () => {
        const response = await fetch(engines.clickHouseUrl, { method: 'POST', body: rows });
        expect(await response.text()).toMatch(/millrace\/http\n.*rabbitmq/);
      },
      { timeout: 30_000 },
    );
  }, 60_000);

  it('are inspected and audited with the same settings', async () => {
    const doctor = await start(['doctor']);
    await doctor.program.exited;
    const findings = doctor.program.output();
    for (const engine of ['Broker', 'schema registry', 'ClickHouse', 'Redis', 'RabbitMQ'])
      expect(findings).toMatch(new RegExp(`^(?:ok .*${engine}.* answers|WARNING .*${engine}.* took)`, 'm'));
    expect(findings).toMatch(/^ok .*RabbitMQ grants the permissions of the bridge/m);
    expect(findings).not.toMatch(/^ERROR +(?:redis|rabbitmq|registry) /m);
    const audit = await start(['audit', '--wait', '30']);
    expect(await audit.program.exited, audit.program.output()).toBe(0);
  }, 60_000);

  it.each(['plain', 'scram-sha-256'])('accept users by %s too', async (mechanism) => {
    const config = loadConfig({ ...engines.settings, KAFKA_SASL_MECHANISM: mechanism });
    const brokers = config.KAFKA_BROKERS ?? [];
    const streams = createStreams({
      ...kafkaSettings(config),
      brokers,
      clientId: 'test',
      logger: silentLogger,
    });
    await streams.createTopics([{ name: mechanism, partitions: 1, config: {} }]);
    await streams.close();
  });

  it('accept a server under another name when KAFKA_TLS_SERVER_NAME says so', async () => {
    const [broker = ''] = engines.settings['KAFKA_BROKERS']?.split(',') ?? [];
    const brokers = [broker.replace('localhost', '127.0.0.1')];
    const config = loadConfig({ ...engines.settings, KAFKA_TLS_SERVER_NAME: 'localhost' });
    const streams = createStreams({
      ...kafkaSettings(config),
      brokers,
      clientId: 'test',
      logger: silentLogger,
    });
    await streams.createTopics([{ name: 'renamed', partitions: 1, config: {} }]);
    await streams.close();
  });

  it('end a misconfigured role, with the setting to correct', async () => {
    const { stranger, settings } = engines;
    const otherHost = (name: string): Record<string, string> => ({
      [name]: settings[name]?.replace('localhost', '127.0.0.1') ?? '',
    });
    const wrong: [role: string, settings: Record<string, string>, advice: RegExp][] = [
      ['process', { KAFKA_SASL_PASSWORD_FILE: '', KAFKA_SASL_PASSWORD: 'wrong' }, /Check KAFKA_SASL_\*/],
      ['process', { KAFKA_TLS_CA: stranger.caFile }, /not trusted here: set KAFKA_TLS_CA/],
      ['process', otherHost('KAFKA_BROKERS'), /for other host names: .* KAFKA_TLS_SERVER_NAME/],
      [
        'process',
        { KAFKA_TLS_CERT: '', KAFKA_TLS_KEY: '' },
        /asks for a client certificate .*KAFKA_TLS_CERT/,
      ],
      [
        'process',
        { SCHEMA_REGISTRY_PASSWORD: 'wrong' },
        /Check SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD/,
      ],
      [
        'process',
        { SCHEMA_REGISTRY_TLS_CA: stranger.caFile },
        /not trusted here: set SCHEMA_REGISTRY_TLS_CA/,
      ],
      ['sink', { CLICKHOUSE_PASSWORD: 'wrong' }, /Check CLICKHOUSE_USER, CLICKHOUSE_PASSWORD/],
      ['sink', otherHost('CLICKHOUSE_URL'), /for other host names: .* CLICKHOUSE_TLS_SERVER_NAME/],
    ];
    await Promise.all(
      wrong.map(async ([role, changes, advice]) => {
        const { program } = await start([role], changes);
        expect(await program.exited, program.output().slice(-2_000)).toBe(1);
        const lines = program.output().trim().split('\n');
        expect(lines.at(-1), lines.slice(-5).join('\n')).toMatch(advice);
        expect(lines.filter((line) => !line.startsWith('{') && advice.test(line))).toHaveLength(1);
      }),
    );
  }, 120_000);

  it('are optional for a role that can work without, which logs it once and reports it in its readiness', async () => {
    const { stranger, settings } = engines;
    const redisAdvice = /Check user and password in REDIS_URL/;
    const rabbitAdvice = /Check user, password and vhost in RABBITMQ_URL/;
    const wrong: [role: string, settings: Record<string, string>, advice: Record<string, RegExp>][] = [
      [
        'bridge',
        { RABBITMQ_URL: withPassword(settings['RABBITMQ_URL'], 'wrong') },
        { rabbitmq: rabbitAdvice },
      ],
      ['bridge', { RABBITMQ_TLS_CA: stranger.caFile }, { rabbitmq: /set RABBITMQ_TLS_CA/ }],
      ['serve', { REDIS_URL: withPassword(settings['REDIS_URL'], 'wrong') }, { redis: redisAdvice }],
      [
        'serve',
        { REDIS_TLS_CA: stranger.caFile, CLICKHOUSE_TLS_CA: stranger.caFile },
        { redis: /set REDIS_TLS_CA/, 'look-ups': /set CLICKHOUSE_TLS_CA/ },
      ],
    ];
    for (const [role, changes, advices] of wrong) {
      const { program, url } = await start([role], changes);
      for (const [part, advice] of Object.entries(advices)) {
        await vi.waitFor(
          async () => {
            const report = await readiness(url);
            answers.push(JSON.stringify(report));
            expect(report.parts[part], program.output().slice(-1_500)).toMatchObject({
              status: role === 'bridge' ? 'down' : 'degraded',
              detail: expect.stringMatching(advice),
            });
          },
          { timeout: 60_000, interval: 200 },
        );
        const warnings = program
          .output()
          .split('\n')
          .filter((line) => line.includes('"level":40') && advice.test(line));
        if (part !== 'look-ups') expect(warnings).toHaveLength(1);
      }
      expect(program.hasExited()).toBe(false);
      await program.kill();
    }
  }, 240_000);

  it('are used again once their certificate, or ours, is renewed', async () => {
    const { authority, client: ours, clickHouseGate, registryGate, server, stranger } = engines;
    const ca = readFileSync(authority.caFile, 'utf8');
    const expired = authority.issue('expired', { names: ['DNS:localhost'], days: -1 });
    for (const gate of [clickHouseGate, registryGate]) gate.present(expired, ca);
    await vi.waitFor(
      async () => {
        const { parts } = (await (await ask('/health/ready')).json()) as { parts: Record<string, object> };
        for (const part of ['clickhouse', 'registry'])
          expect(parts[part]).toMatchObject({
            status: 'down',
            detail: expect.stringContaining('has expired: renew it'),
          });
      },
      { timeout: 20_000 },
    );
    // Now they are renewed, and require client certificates of another authority.
    for (const gate of [clickHouseGate, registryGate])
      gate.present(server, readFileSync(stranger.caFile, 'utf8'));
    await vi.waitFor(
      async () => expect((await readiness(http)).parts['registry']?.detail).not.toMatch(/expired/),
      { timeout: 20_000 },
    );
    expect((await readiness(http)).parts['clickhouse']?.status).toBe('down');
    replaceCertificate(ours, stranger.issue('renewed'));
    await vi.waitFor(
      async () => {
        const { parts } = await readiness(http);
        expect([parts['clickhouse'], parts['registry']]).toEqual([{ status: 'up' }, { status: 'up' }]);
      },
      { timeout: 20_000 },
    );
  }, 90_000);

  it('get their passwords, which appear nowhere else', async () => {
    for (const path of [
      '/health/ready',
      '/metrics',
      '/openapi.json',
      '/nothing',
      '/v1/models',
      '/v1/pipelines',
    ])
      await ask(path, { headers: authorized });
    await ask('/v1/pipelines/credit-default/predict', {
      method: 'POST',
      headers: authorized,
      body: '{"LIMIT_BAL": 1}',
    });
    const url = (user: string, secret: string): string =>
      `http://${user}:${encodeURIComponent(secret)}@127.0.0.1:1`;
    const failing = [
      start(['settings']),
      start(['sql', 'SELECT nonsense'], { CLICKHOUSE_URL: url('a', canaries.clickhouse) }),
      start(['models', 'list'], { MILLRACE_URL: url('a', canaries.apikey) }),
      start(['process'], { REDIS_URL: `rediss://x:${canaries.redis}@[` }),
      start(['process'], { RABBITMQ_URL: `http://x:${canaries.rabbitmq}@localhost` }),
      start(['process'], { API_KEYS_FILE: join(engines.folder, 'kafka-password') }),
      start(['serve'], { API_KEYS_FILE: join(engines.folder, 'kafka-password') }),
    ];
    for (const { program } of await Promise.all(failing.slice(0, 5))) await program.exited;
    const { program: serve } = (await Promise.all(failing)).at(-1) ?? {};
    expect(await serve?.exited).toBe(1);
    expect(serve?.output()).toMatch(/API_KEYS_FILE .* can't be used: it is no JSON/);
    system.signal('SIGTERM');
    await system.exited;

    const written = programs.map((program) => program.output()).concat(answers);
    const dataFolders = readdirSync(engines.folder).filter((name) => name.startsWith('data-'));
    const files = dataFolders.flatMap((name) => filesIn(join(engines.folder, name)));
    const log = files
      .filter((file) => file.endsWith('millrace.log'))
      .map((file) => readFileSync(file, 'utf8'));
    // Otherwise there would be nothing to search.
    expect(log.join('').length + written.join('').length).toBeGreaterThan(20_000);
    for (const [name, canary] of Object.entries(canaries)) {
      for (const form of formsOf(canary)) {
        for (const text of written) expect(excerpt(text, form), name).toBe('');
        for (const file of files) expect(readFileSync(file).includes(form), `${name} in ${file}`).toBe(false);
      }
    }
  }, 120_000);
});

function formsOf(secret: string): string[] {
  const base64 = (text: string): string => Buffer.from(text).toString('base64').replace(/=+$/, '');
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    base64(secret),
    base64(`millrace:${secret}`),
    base64(`\0millrace\0${secret}`),
  ];
}

/** Returns the surroundings of a text in another; empty when it is missing. */
function excerpt(text: string, part: string): string {
  const at = text.indexOf(part);
  return at < 0 ? '' : text.slice(Math.max(0, at - 200), at + part.length + 50);
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => statSync(file).isFile());
}
