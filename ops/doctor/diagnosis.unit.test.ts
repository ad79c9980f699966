import { expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { checkSettings } from './check-settings.js';
import { attempt, Diagnosis } from './diagnosis.js';

function settingsFindings(environment: Record<string, string>): string[] {
  const diagnosis = new Diagnosis();
  checkSettings(diagnosis.notes('settings'), loadConfig(environment));
  return diagnosis.findings.map(({ severity, what }) => `${severity}: ${what}`);
}

it('redacts secrets in every encoding', () => {
  loadConfig({
    CLICKHOUSE_PASSWORD: 'pass word',
    API_KEYS: 'first-key, second-key',
    REDIS_URL: 'rediss://:p%40ss@redis:6379/1',
    RABBITMQ_URL: 'amqps://bridge:se:cret@rabbit/%2F',
    HOST: '0.0.0.0',
  });
  const diagnosis = new Diagnosis();
  const text =
    'pass word, first-key or second-key at rediss://:p%40ss@redis (p@ss), se:cret, https://u:unknown@host/x on 0.0.0.0';
  diagnosis.notes('log').error(text, text);
  const cleaned =
    '[secret], [secret] or [secret] at rediss://:[secret]@redis ([secret]), [secret], https://u:[secret]@host/x on 0.0.0.0';
  expect(diagnosis.findings).toEqual([{ severity: 'error', area: 'log', what: cleaned, fix: cleaned }]);
});

it('reports a check that hangs', async () => {
  const diagnosis = new Diagnosis();
  const never = attempt(
    diagnosis.notes('log'),
    { what: 'It hangs', fix: 'none', timeoutMs: 1 },
    () => new Promise(() => undefined),
  );
  expect(await never).toBe(false);
  expect(diagnosis.findings[0]?.what).toBe('It hangs: no answer in 0.001 s');
});

it('compares clocks only within the precision of the answer', () => {
  const diagnosis = new Diagnosis();
  diagnosis.noteClock('Quick', 101_500, { askedAt: 100_000, answeredAt: 100_010 });
  diagnosis.noteClock('Slow', 101_500, { askedAt: 98_000, answeredAt: 102_000 });
  diagnosis.noteClock('Rough', 99_000, { askedAt: 99_990, answeredAt: 99_999 }, 1_000);
  expect(diagnosis.findings.map(({ severity }) => severity)).toEqual(['warning', 'ok', 'ok']);
});

it('accepts the settings of a single machine', () => {
  expect(settingsFindings({})).toEqual(['ok: The settings are consistent']);
});

it.each([
  [{ HOST: '0.0.0.0' }, 'without API keys'],
  [{ HOST: '0.0.0.0', API_KEYS: 'x'.repeat(32) }, 'without any login'],
  [{ API_KEYS: 'short' }, 'can be guessed'],
  [
    {
      KAFKA_BROKERS: 'k:9092',
      KAFKA_SASL_MECHANISM: 'plain',
      KAFKA_SASL_USERNAME: 'u',
      KAFKA_SASL_PASSWORD: 'p',
    },
    'sent unencrypted',
  ],
  [{ CLICKHOUSE_URL: 'http://ch:8123', CLICKHOUSE_PASSWORD: 'p' }, 'sent unencrypted'],
  [{ REDIS_URL: 'redis://:p@redis' }, 'sent unencrypted'],
  [{ RABBITMQ_URL: 'amqp://u:p@rabbit' }, 'sent unencrypted'],
  [{ KAFKA_BROKERS: 'k:9092' }, 'MODELS_DIR is not set'],
])('warns about unsafe settings: %j', (settings, expected) => {
  const found = settingsFindings(settings);
  expect(found.filter((text) => text.startsWith('warning:') && text.includes(expected))).toHaveLength(1);
});
