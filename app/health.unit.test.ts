import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { Health } from '../platform/health.js';
import { showHealth } from './health.js';

it('shows the state of each part at the scrape', async () => {
  const registry = new Registry();
  const health = new Health();
  let reachable = true;
  health.add('log', () => ({ status: reachable ? 'up' : 'down' }));
  health.add('look-ups', () => Promise.reject(new Error('away')), { optional: true });
  showHealth(registry, health);
  const before = await registry.metrics();
  expect(before).toContain('millrace_part_health{part="log"} 1\n');
  expect(before).toContain('millrace_part_health{part="look-ups"} 0.5\n');
  reachable = false;
  health.drain();
  const after = await registry.metrics();
  expect(after).toContain('millrace_part_health{part="log"} 0\n');
  expect(after).toContain('millrace_part_health{part="process"} 0\n');
});
