import { collectDefaultMetrics, Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { createMetrics } from './metrics.js';

it('adds up counters and histograms of threads, and keeps their own gauges apart', async () => {
  const [metrics, sink] = [createMetrics(), createMetrics('sink')];
  metrics.include(() => sink.registry.getMetricsAsJSON());
  const labels = { pipeline: 'toy', reason: 'UNDECODABLE' };
  metrics.deadLetters.inc(labels, 2);
  sink.deadLetters.inc(labels, 3);
  sink.modelSeconds.observe({ model: 'toy', model_version: '1' }, 0.002);
  metrics.modelEvent.set({ model: 'toy', alias: 'champion', model_version: '1' }, 7);
  sink.modelEvent.set({ model: 'toy', alias: 'champion', model_version: '1' }, 7);
  const text = await metrics.text();
  expect(text).toContain('millrace_dead_letters_total{pipeline="toy",reason="UNDECODABLE"} 5');
  expect(text).toMatch(/^millrace_model_duration_seconds_count\{.*model="toy".*\} 1$/m);
  expect(text).toMatch(/^millrace_model_event\{.*model="toy".*\} 7$/m);
  for (const thread of ['main', 'sink'])
    expect(text).toContain(`millrace_thread_heap_bytes{thread="${thread}"}`);
  // All that prom-client knows of a process: once.
  const ofProcess = new Registry();
  collectDefaultMetrics({ register: ofProcess });
  const names = (await ofProcess.getMetricsAsJSON()).map(({ name }) => name);
  for (const name of names) expect(text.match(new RegExp(`^# TYPE ${name} `, 'gm')), name).toHaveLength(1);
  expect(text).toMatch(/^process_start_time_seconds \d{10}$/m);
});

it('leaves out a thread that fails, or does not answer', async () => {
  const metrics = createMetrics();
  metrics.include(() => Promise.reject(new Error('gone')));
  metrics.include(() => new Promise(() => undefined));
  metrics.redisFailures.inc();
  expect(await metrics.text()).toContain('millrace_redis_failures_total 1');
});
