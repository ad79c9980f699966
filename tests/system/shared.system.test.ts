import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithRedis, RedisServer } from '../../platform/testing/redis-server.js';
import { packageRoot } from '../../platform/paths.js';
import { freePorts, killPrograms, readiness, startProgram, whenReady } from './programs.js';
import { runsAll } from './size.js';
import { startSystem, type TestSystem } from './start.js';

const client = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as Record<string, number>;

describeWithRedis('two copies of the HTTP API on one Redis', () => {
  let redis: RedisServer;
  let one: TestSystem;
  let other: string;

  beforeAll(async () => {
    redis = await RedisServer.start();
    one = await startSystem({ REDIS_URL: redis.url });
    const { http } = await freePorts('http');
    other = `http://127.0.0.1:${http}`;
    const copy = startProgram('cli/main.js', ['serve'], {
      PORT: String(http),
      KAFKA_BROKERS: one.endpoints.kafka.join(','),
      SCHEMA_REGISTRY_URL: one.endpoints.schema_registry,
      CLICKHOUSE_URL: one.endpoints.clickhouse,
      REDIS_URL: redis.url,
    });
    await whenReady(copy, other);
  });

  afterAll(async () => {
    await killPrograms();
    await one.stop();
    await redis.remove();
  });

  function post(http: string, route: string, body: unknown): Promise<Response> {
    return fetch(`${http}/v1/pipelines/credit-default/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  }

  it.runIf(runsAll)('one knows the event ids and predictions of the other', async () => {
    const predicted = (await (
      await post(other, 'predict', { ...client, event_id: 'shared' })
    ).json()) as object;
    await expect
      .poll(async () => (await post(one.endpoints.http, 'predict', { ...client, event_id: 'shared' })).json())
      .toEqual(predicted);
    expect((await post(other, 'events', { ...client, event_id: 'published' })).status).toBe(202);
    await expect
      .poll(async () => {
        const answer = await post(one.endpoints.http, 'events', {
          ...client,
          AGE: 77,
          event_id: 'published',
        });
        return ((await answer.json()) as { code?: string }).code;
      })
      .toBe('EVENT_ID_CONFLICT');
  });

  it.runIf(runsAll)('both continue without it, degraded, and are up again when it is', async () => {
    await redis.kill();
    for (const http of [one.endpoints.http, other]) {
      await expect
        .poll(() => readiness(http))
        .toMatchObject({
          status: 'degraded',
          parts: { redis: { detail: expect.stringContaining('Redis does not work now') as string } },
        });
      const answers = await Promise.all(
        [client, { ...client, event_id: `without ${http}` }].map((body) => post(http, 'predict', body)),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      await expect
        .poll(
          async () => (await fetch(`${http}/v1/predictions/${encodeURIComponent(`without ${http}`)}`)).status,
        )
        .toBe(200);
    }
    await redis.begin();
    for (const http of [one.endpoints.http, other])
      await expect.poll(async () => (await readiness(http)).status).toBe('up');
  });
});
