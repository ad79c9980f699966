import { expect, test, vi } from 'vitest';
import { loadConfig } from '../platform/config.js';
import { freePorts } from '../tests/system/programs.js';
import { runRole } from './run-role.js';

test('an abort ends a start that waits for an engine, and stops what it has started', async () => {
  const { PORT } = await freePorts('PORT');
  const health = (): Promise<Response> => fetch(`http://127.0.0.1:${PORT}/health/live`);
  const unreachable = '127.0.0.1:9';
  const config = loadConfig({
    PORT: String(PORT),
    KAFKA_BROKERS: unreachable,
    SCHEMA_REGISTRY_URL: `http://${unreachable}`,
    CLICKHOUSE_URL: `http://${unreachable}`,
    LOG_LEVEL: 'silent',
  });
  const stopping = new AbortController();
  const start = vi.fn<() => Promise<never>>();
  const starting = runRole(config, start, { role: 'process', signal: stopping.signal });
  await vi.waitFor(async () => expect((await health()).ok).toBe(true), { timeout: 10_000 });
  stopping.abort();
  await expect(starting).rejects.toBe(stopping.signal.reason);
  expect(start).not.toHaveBeenCalled();
  await expect(health()).rejects.toThrow('fetch failed');
});
