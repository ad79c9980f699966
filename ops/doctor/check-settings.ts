import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import type { Notes } from './diagnosis.js';

const minKeyLength = 16;
const warnDaysBefore = 30;

/** What settings say together, or leave open: each alone was checked when they were read. */
export function checkSettings(notes: Notes, config: Config): void {
  const before = { count: 0 };
  const warn = (what: string, fix: string): void => {
    before.count++;
    notes.warn(what, fix);
  };
  checkExposure(config, warn);
  checkEncryption(config, warn);
  checkShared(config, warn);
  if (config.KAFKA_TLS_CA !== undefined) checkCertificate(config.KAFKA_TLS_CA, warn);
  if (before.count === 0) notes.ok('The settings fit together');
}

type Warn = (what: string, fix: string) => void;

function checkExposure(config: Config, warn: Warn): void {
  const { HOST, API_KEYS, KAFKA_BROKERS, CLICKHOUSE_URL, SCHEMA_REGISTRY_URL } = config;
  if (API_KEYS?.some((key) => key.length < minKeyLength))
    warn(
      `An API key has less than ${minKeyLength} characters and can be guessed`,
      'Make keys by `openssl rand -hex 24` and put them into API_KEYS.',
    );
  if (isLocal(HOST)) return;
  if (API_KEYS === undefined)
    warn(
      `The HTTP API listens on ${HOST} and asks for no key: whoever reaches it can use it`,
      'Set API_KEYS, or HOST=127.0.0.1 behind a proxy that authenticates.',
    );
  if ([KAFKA_BROKERS, CLICKHOUSE_URL, SCHEMA_REGISTRY_URL].includes(undefined))
    warn(
      `An embedded engine would listen on ${HOST} without any login`,
      'Set KAFKA_BROKERS, SCHEMA_REGISTRY_URL and CLICKHOUSE_URL, or HOST=127.0.0.1.',
    );
}

function checkEncryption(config: Config, warn: Warn): void {
  const { KAFKA_BROKERS = [], KAFKA_TLS, KAFKA_SASL_MECHANISM } = config;
  if (
    !KAFKA_TLS &&
    KAFKA_SASL_MECHANISM !== undefined &&
    !KAFKA_BROKERS.every((broker) => isLocal(hostOf(broker)))
  )
    warn(
      'The login to Kafka and all records cross the network in the clear',
      'Set KAFKA_TLS=true, and KAFKA_TLS_CA for an authority of your own.',
    );
  const urls = [
    ['CLICKHOUSE_URL', config.CLICKHOUSE_URL, 'https:', config.CLICKHOUSE_PASSWORD],
    ['SCHEMA_REGISTRY_URL', config.SCHEMA_REGISTRY_URL, 'https:', config.SCHEMA_REGISTRY_PASSWORD],
    ['REDIS_URL', config.REDIS_URL, 'rediss:', undefined],
    ['RABBITMQ_URL', config.RABBITMQ_URL, 'amqps:', undefined],
  ] as const;
  for (const [name, text, secure, password] of urls) {
    if (text === undefined) continue;
    const url = new URL(text);
    if (url.protocol === secure || isLocal(url.hostname)) continue;
    if (url.password !== '' || password !== undefined)
      warn(
        `The password for ${name} crosses the network in the clear`,
        `Use an address with ${secure}// in ${name}.`,
      );
  }
}

/** Several processes need the same folders; with everything embedded there is one process. */
function checkShared(config: Config, warn: Warn): void {
  if (config.KAFKA_BROKERS === undefined) return;
  const { MODELS_DIR, FILES_DIR } = config;
  const isUnset = [
    ['MODELS_DIR', MODELS_DIR, 'all processes have to see the model versions that are registered'],
    ['FILES_DIR', FILES_DIR, 'all copies of `serve` have to see uploaded files and their results'],
  ] as const;
  for (const [name, value, why] of isUnset)
    if (value === undefined)
      warn(
        `${name} is not set: ${why}`,
        `Set ${name} to a folder on storage that they share; with one process there is no need.`,
      );
}

function checkCertificate(file: string, warn: Warn): void {
  try {
    const { validTo } = new X509Certificate(readFileSync(file));
    const days = Math.floor((Date.parse(validTo) - Date.now()) / 86_400_000);
    if (days < warnDaysBefore)
      warn(
        `The authority in KAFKA_TLS_CA is valid until ${validTo}: ${days < 0 ? 'no more' : `${days} days more`}`,
        'Put the new authority’s certificate there.',
      );
  } catch (error) {
    warn(
      `KAFKA_TLS_CA can’t be read as a certificate: ${messageOf(error)}`,
      'Put the authority’s certificate there, PEM.',
    );
  }
}

function isLocal(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(host);
}

function hostOf(broker: string): string {
  return broker.slice(0, broker.lastIndexOf(':'));
}
