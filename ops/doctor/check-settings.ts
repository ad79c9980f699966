import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import type { Notes } from './diagnosis.js';

const minKeyLength = 16;
const warnDaysBefore = 30;

/** Checks settings that depend on each other. Each one was validated when it was read. */
export function checkSettings(notes: Notes, config: Config): void {
  const warnings = { count: 0 };
  const warn = (what: string, fix: string): void => {
    warnings.count++;
    notes.warn(what, fix);
  };
  checkExposure(config, warn);
  checkEncryption(config, warn);
  checkShared(config, warn);
  if (config.KAFKA_TLS_CA !== undefined) checkCertificate(config.KAFKA_TLS_CA, warn);
  if (warnings.count === 0) notes.ok('The settings are consistent');
}

type Warn = (what: string, fix: string) => void;

function checkExposure(config: Config, warn: Warn): void {
  const { HOST, API_KEYS, KAFKA_BROKERS, CLICKHOUSE_URL, SCHEMA_REGISTRY_URL } = config;
  if (API_KEYS?.some((key) => key.length < minKeyLength))
    warn(
      `An API key has fewer than ${minKeyLength} characters and can be guessed`,
      'Create keys with `openssl rand -hex 24` and set API_KEYS.',
    );
  if (isLocal(HOST)) return;
  if (API_KEYS === undefined)
    warn(
      `The HTTP API listens on ${HOST} without API keys: anyone who can reach it can use it`,
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
      'The Kafka password and all records are sent unencrypted',
      'Set KAFKA_TLS=true, and KAFKA_TLS_CA for a private certificate authority.',
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
      warn(`The password in ${name} is sent unencrypted`, `Use ${secure}// in ${name}.`);
  }
}

/** Several processes need shared folders. A system with an embedded log is one process. */
function checkShared(config: Config, warn: Warn): void {
  if (config.KAFKA_BROKERS === undefined) return;
  const { MODELS_DIR, FILES_DIR } = config;
  const isUnset = [
    ['MODELS_DIR', MODELS_DIR, 'all processes must see the registered model versions'],
    ['FILES_DIR', FILES_DIR, 'all instances of `serve` must see uploaded files and their results'],
  ] as const;
  for (const [name, value, why] of isUnset)
    if (value === undefined)
      warn(
        `${name} is not set: ${why}`,
        `Set ${name} to a folder on shared storage. A single process does not need it.`,
      );
}

function checkCertificate(file: string, warn: Warn): void {
  try {
    const { validTo } = new X509Certificate(readFileSync(file));
    const days = Math.floor((Date.parse(validTo) - Date.now()) / 86_400_000);
    if (days < warnDaysBefore)
      warn(
        `The certificate in KAFKA_TLS_CA ${days < 0 ? 'expired' : 'expires'} at ${validTo}`,
        'Replace it with the new certificate of the authority.',
      );
  } catch (error) {
    warn(
      `KAFKA_TLS_CA is not a readable certificate: ${messageOf(error)}`,
      'Set KAFKA_TLS_CA to the authority’s certificate in PEM format.',
    );
  }
}

function isLocal(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(host);
}

function hostOf(broker: string): string {
  return broker.slice(0, broker.lastIndexOf(':'));
}
