import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { RedisServer } from '../../../platform/testing/redis-server.js';
import { freePorts, type Program, startProgram } from '../programs.js';
import { ApacheKafka } from './apache-kafka.js';
import { Authority, type IssuedCertificate } from './certificates.js';
import { RabbitMq } from './rabbitmq-server.js';
import { TlsGate } from './tls-gate.js';

/** Passwords that are unique to one run, so that a leak into a log or an answer can be found. */
export const canaries = Object.fromEntries(
  ['kafka', 'registry', 'clickhouse', 'rabbitmq', 'redis', 'apikey'].map((name) => [
    name,
    // Characters that differ in a URL and in base64.
    `${name}/canary+${randomBytes(9).toString('base64url')}`,
  ]),
) as Record<'kafka' | 'registry' | 'clickhouse' | 'rabbitmq' | 'redis' | 'apikey', string>;

const user = 'millrace';

/** Every engine on loopback as in production: TLS with a private authority, client certificates, users. */
export interface SecuredEngines {
  authority: Authority;
  /** An untrusted authority. */
  stranger: Authority;
  folder: string;
  kafka: ApacheKafka;
  rabbitMq: RabbitMq;
  registryGate: TlsGate;
  clickHouseGate: TlsGate;
  server: IssuedCertificate;
  /** Millrace's certificates for ClickHouse and the registry, to be renewed. */
  client: IssuedCertificate;
  /** ClickHouse without the TLS gate, for checks. */
  clickHouseUrl: string;
  /** Millrace's settings for all of them. */
  settings: Record<string, string>;
  stop(): Promise<void>;
}

export async function startSecuredEngines(): Promise<SecuredEngines> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    return await startAll(stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startAll(
  stops: (() => Promise<unknown>)[],
  stop: () => Promise<void>,
): Promise<SecuredEngines> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-secured-'));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  const authority = new Authority(folder, 'authority');
  const stranger = new Authority(folder, 'stranger');
  const server = authority.issue('server', { names: ['DNS:localhost'] });
  const client = authority.issue('client');
  const renewable = authority.issue('renewable');
  const ports = await freePorts('kafka', 'rabbitMq', 'redis', 'registry', 'clickHouse');
  const clientCa = readFileSync(authority.caFile, 'utf8');
  const gate = { server, clientCa, user };

  const redis = await startRedis(ports.redis, authority, server);
  stops.push(() => redis.remove());
  const rabbitMq = await startRabbitMq(ports.rabbitMq, authority, server);
  stops.push(() => rabbitMq.stop());
  const kafka = await startKafka(ports.kafka, authority, server);
  stops.push(() => kafka.stop());
  const programs = [
    startProgram('tests/system/engines/schema-registry.js', [], {
      KAFKA_BROKERS: kafka.brokers.join(','),
      SCHEMA_REGISTRY_PORT: String(ports.registry),
    }),
    startProgram('tests/system/engines/clickhouse.js', [], {
      DATA_DIR: join(folder, 'clickhouse'),
      CLICKHOUSE_PORT: String(ports.clickHouse),
    }),
  ];
  for (const program of programs) stops.push(() => program.kill());
  const registryUrl = `http://127.0.0.1:${ports.registry}`;
  const clickHouseUrl = `http://127.0.0.1:${ports.clickHouse}`;
  await Promise.all([
    whenAnswers(`${registryUrl}/subjects`, programs),
    whenAnswers(`${clickHouseUrl}/ping`, programs),
  ]);
  const registryGate = await TlsGate.open({
    ...gate,
    upstream: registryUrl,
    password: canaries.registry,
    refusal: { status: 401, body: '{"error_code": 40101, "message": "Unauthorized"}' },
  });
  stops.push(() => registryGate.close());
  const clickHouseGate = await TlsGate.open({
    ...gate,
    upstream: clickHouseUrl,
    password: canaries.clickhouse,
    // In the form of ClickHouse 24.
    refusal: {
      status: 403,
      headers: { 'x-clickhouse-exception-code': '516' },
      body: `Code: 516. DB::Exception: ${user}: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)`,
    },
  });

  stops.push(() => clickHouseGate.close());
  const encoded = (name: 'rabbitmq' | 'redis'): string => `${user}:${encodeURIComponent(canaries[name])}`;
  const tls = Object.fromEntries(
    ['KAFKA', 'SCHEMA_REGISTRY', 'CLICKHOUSE', 'RABBITMQ', 'REDIS'].flatMap((engine) => {
      const { certFile, keyFile } = /SCHEMA|CLICK/.test(engine) ? renewable : client;
      return [
        [`${engine}_TLS_CA`, authority.caFile],
        [`${engine}_TLS_CERT`, certFile],
        [`${engine}_TLS_KEY`, keyFile],
      ];
    }),
  ) as Record<string, string>;
  const passwordFile = join(folder, 'kafka-password');
  writeFileSync(passwordFile, `${canaries.kafka}\n`);
  return {
    authority,
    stranger,
    folder,
    kafka,
    rabbitMq,
    registryGate,
    clickHouseGate,
    server,
    client: renewable,
    clickHouseUrl,
    settings: {
      ...tls,
      KAFKA_BROKERS: `localhost:${ports.kafka}`,
      KAFKA_TLS: 'true',
      KAFKA_SASL_MECHANISM: 'scram-sha-512',
      KAFKA_SASL_USERNAME: user,
      KAFKA_SASL_PASSWORD_FILE: passwordFile,
      SCHEMA_REGISTRY_URL: `https://localhost:${registryGate.port}`,
      SCHEMA_REGISTRY_USER: user,
      SCHEMA_REGISTRY_PASSWORD: canaries.registry,
      CLICKHOUSE_URL: `https://localhost:${clickHouseGate.port}`,
      CLICKHOUSE_USER: user,
      CLICKHOUSE_PASSWORD: canaries.clickhouse,
      RABBITMQ_URL: `amqps://${encoded('rabbitmq')}@localhost:${ports.rabbitMq}`,
      REDIS_URL: `rediss://${encoded('redis')}@localhost:${ports.redis}`,
    },
    stop,
  };
}

function startKafka(port: number, { caFile }: Authority, server: IssuedCertificate): Promise<ApacheKafka> {
  const module = (kind: string, options = ''): string =>
    `org.apache.kafka.common.security.${kind} required${options};`;
  return ApacheKafka.start({
    securePort: port,
    settings: {
      'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      'listener.name.sasl_ssl.plain.sasl.jaas.config': module(
        'plain.PlainLoginModule',
        ` user_${user}="${canaries.kafka}"`,
      ),
      'listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config': module('scram.ScramLoginModule'),
      'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config': module('scram.ScramLoginModule'),
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': server.bothFile,
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': caFile,
      'listener.name.sasl_ssl.ssl.client.auth': 'required',
    },
    formatOptions: ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${user},password=${canaries.kafka}]`,
    ]),
  });
}

async function startRabbitMq(
  port: number,
  { caFile }: Authority,
  { certFile, keyFile }: IssuedCertificate,
): Promise<RabbitMq> {
  const rabbitMq = await RabbitMq.start(
    {},
    {
      'listeners.ssl.1': `127.0.0.1:${port}`,
      'ssl_options.cacertfile': caFile,
      'ssl_options.certfile': certFile,
      'ssl_options.keyfile': keyFile,
      'ssl_options.verify': 'verify_peer',
      'ssl_options.fail_if_no_peer_cert': 'true',
    },
  );
  const put = (path: string, body: object) =>
    rabbitMq.manage(path, { method: 'PUT', body: JSON.stringify(body) });
  await put(`users/${user}`, { password: canaries.rabbitmq, tags: '' });
  await put(`permissions/%2F/${user}`, { configure: '.*', write: '.*', read: '.*' });
  return rabbitMq;
}

function startRedis(
  port: number,
  { caFile }: Authority,
  { certFile, keyFile }: IssuedCertificate,
): Promise<RedisServer> {
  const tls = [
    ['--port', '0'],
    ['--tls-port', String(port)],
    ['--tls-ca-cert-file', caFile],
    ['--tls-cert-file', certFile],
    ['--tls-key-file', keyFile],
  ];
  const rights = ['~millrace:*', '+@read', '+@write', '+@connection', '+@scripting', '+info'];
  const users = ['--user', 'default', 'off', '--user', user, 'on', `>${canaries.redis}`, ...rights];
  return RedisServer.start(...tls.flat(), ...users);
}

async function whenAnswers(url: string, programs: readonly Program[]): Promise<void> {
  await vi.waitFor(
    async () => {
      const ended = programs.find((program) => program.hasExited());
      if (ended !== undefined) throw new Error(ended.output());
      await fetch(url);
    },
    { timeout: 60_000, interval: 50 },
  );
}
