import { expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { checkSettings } from './check-settings.js';
import { attempt, Diagnosis } from './diagnosis.js';

function settingsFindings(environment: Record<string, string>): string[] {
  const diagnosis = new Diagnosis();
  checkSettings(diagnosis.notes('settings'), loadConfig(environment));
  return diagnosis.findings.map(({ severity, what }) => `${severity}: ${what}`);
}

it('shows no secret, however it is written', () => {
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

it('gives an answer when a check never does', async () => {
  const diagnosis = new Diagnosis();
  const never = attempt(
    diagnosis.notes('log'),
    { what: 'It hangs', fix: 'none', timeoutMs: 1 },
    () => new Promise(() => undefined),
  );
  expect(await never).toBe(false);
  expect(diagnosis.findings[0]?.what).toBe('It hangs: no answer in 0.001 s');
});

it('tells clocks apart only as far as the answer is exact', () => {
  const diagnosis = new Diagnosis();
  diagnosis.noteClock('Quick', 101_500, { askedAt: 100_000, answeredAt: 100_010 });
  diagnosis.noteClock('Slow', 101_500, { askedAt: 98_000, answeredAt: 102_000 });
  diagnosis.noteClock('Rough', 99_000, { askedAt: 99_990, answeredAt: 99_999 }, 1_000);
  expect(diagnosis.findings.map(({ severity }) => severity)).toEqual(['warning', 'ok', 'ok']);
});

it('finds nothing wrong with what is set for one machine', () => {
  expect(settingsFindings({})).toEqual(['ok: The settings fit together']);
});

it.each([
  [{ HOST: '0.0.0.0' }, 'asks for no key'],
  [{ HOST: '0.0.0.0', API_KEYS: 'x'.repeat(32) }, 'without any login'],
  [{ API_KEYS: 'short' }, 'can be guessed'],
  [
    {
      KAFKA_BROKERS: 'k:9092',
      KAFKA_SASL_MECHANISM: 'plain',
      KAFKA_SASL_USERNAME: 'u',
      KAFKA_SASL_PASSWORD: 'p',
    },
    'in the clear',
  ],
  [{ CLICKHOUSE_URL: 'http://ch:8123', CLICKHOUSE_PASSWORD: 'p' }, 'in the clear'],
  [{ REDIS_URL: 'redis://:p@redis' }, 'in the clear'],
  [{ RABBITMQ_URL: 'amqp://u:p@rabbit' }, 'in the clear'],
  [{ KAFKA_BROKERS: 'k:9092' }, 'MODELS_DIR is not set'],
])('warns of settings that do harm together: %j', (settings, expected) => {
  const found = settingsFindings(settings);
  expect(found.filter((text) => text.startsWith('warning:') && text.includes(expected))).toHaveLength(1);
});
