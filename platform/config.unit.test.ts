import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.js';
import { describeSettings } from './settings.js';

describe('loadConfig', () => {
  it('has defaults for everything that a laptop needs', () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      HOST: '127.0.0.1',
      PORT: 8080,
      KAFKA_PORT: 9092,
      SCHEMA_REGISTRY_PORT: 8081,
      CLICKHOUSE_PORT: 8123,
    });
    expect(config.KAFKA_BROKERS).toBeUndefined();
  });

  it('treats an empty variable as unset', () => {
    const config = loadConfig({ PORT: '', CLICKHOUSE_URL: '' });
    expect([config.PORT, config.CLICKHOUSE_URL]).toEqual([8080, undefined]);
  });

  it('has the working directory as the project, whose folder .millrace is the data folder', () => {
    expect(loadConfig({})).toMatchObject({
      MILLRACE_PROJECT: process.cwd(),
      DATA_DIR: join(process.cwd(), '.millrace'),
    });
    expect(loadConfig({ MILLRACE_PROJECT: 'a' }).DATA_DIR).toBe(resolve('a', '.millrace'));
    expect(loadConfig({ MILLRACE_PROJECT: 'a', DATA_DIR: 'b' }).DATA_DIR).toBe('b');
  });

  it('splits lists', () => {
    expect(loadConfig({ KAFKA_BROKERS: 'a:9092, b:9092,' }).KAFKA_BROKERS).toEqual(['a:9092', 'b:9092']);
  });

  it('names every wrong variable with its value', () => {
    expect(() => loadConfig({ PORT: 'http', LOG_LEVEL: 'loud' })).toThrow(
      /PORT is "http"[\s\S]*LOG_LEVEL is "loud"/,
    );
  });

  it.each([
    'CLICKHOUSE_URL',
    'REDIS_URL',
    'RABBITMQ_URL',
    'MILLRACE_URL',
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    'TAXI_SCHEDULE',
  ])('never shows a secret in %s', (name) => {
    const secret = 'hunter2';
    expect(() => loadConfig({ [name]: `ftp://user:${secret}@host` })).toThrow(
      expect.objectContaining({
        message: expect.toSatisfy((text: string) => text.includes(name) && !text.includes(secret)) as string,
      }) as Error,
    );
  });

  it('refuses half a SASL setting', () => {
    expect(() => loadConfig({ KAFKA_SASL_USERNAME: 'millrace' })).toThrow(/set all three or none/);
  });

  it.each([{ API_KEYS: ' , ' }, { KAFKA_BROKERS: ',' }])('refuses a list of nothing: %j', (environment) => {
    expect(() => loadConfig(environment)).toThrow(/has no item/);
  });

  it('treats a blank variable as unset', () => {
    expect(loadConfig({ PORT: ' ', API_KEYS: ' ' })).toMatchObject({ PORT: 8080 });
  });

  it('refuses a time that exceeds the maximum of a timer', () => {
    expect(() => loadConfig({ REQUEST_TIMEOUT_MS: '3000000000' })).toThrow(/REQUEST_TIMEOUT_MS/);
  });

  it('refuses an unused or missing certificate authority', () => {
    expect(() => loadConfig({ KAFKA_TLS_CA: import.meta.filename })).toThrow(/KAFKA_TLS is not/);
    expect(() => loadConfig({ KAFKA_TLS: 'true', KAFKA_TLS_CA: '/no/such/file' })).toThrow(/no such file/);
  });

  it('describes every setting', () => {
    for (const setting of describeSettings()) expect(setting.meaning, setting.name).not.toBe('');
  });
});
