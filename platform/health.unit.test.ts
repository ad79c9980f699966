import { describe, expect, it } from 'vitest';
import { Health } from './health.js';

const never = (): Promise<never> => new Promise(() => undefined);
const up = (): { status: 'up' } => ({ status: 'up' });

describe('Health', () => {
  it('is up when all parts are', async () => {
    const health = new Health();
    health.add('log', up);
    expect(await health.report()).toEqual({ status: 'up', parts: { log: { status: 'up' } } });
  });

  it('is down when a part fails or does not answer, and says why', async () => {
    const health = new Health(5);
    health.add('log', () => Promise.reject(new Error('refused')));
    health.add('registry', never);
    expect(await health.report()).toEqual({
      status: 'down',
      parts: {
        log: { status: 'down', detail: 'refused' },
        registry: { status: 'down', detail: 'no answer in 5 ms' },
      },
    });
  });

  it('is degraded when only optional parts fail or do not answer', async () => {
    const health = new Health(5);
    health.add('log', up);
    health.add('look-ups', never, { optional: true });
    expect(await health.report()).toMatchObject({
      status: 'degraded',
      parts: { 'look-ups': { status: 'degraded' } },
    });
  });

  it('is down while it drains', async () => {
    const health = new Health();
    health.add('log', up);
    health.drain();
    expect((await health.report()).status).toBe('down');
  });

  it('is down until it has started, even when that happens while it asks', async () => {
    const health = new Health(2000, 'starting');
    health.add('log', () => {
      health.add('score', () => ({ status: 'down' }));
      health.started();
      return { status: 'up' };
    });
    expect((await health.report()).status).toBe('down');
    expect((await health.report()).parts).toHaveProperty('score');
  });

  it('includes the parts of another thread; of two with one name the worse counts', async () => {
    const [health, other] = [new Health(), new Health(2000, 'starting')];
    health.add('log', up);
    other.add('log', () => ({ status: 'degraded', detail: 'slow' }));
    other.addSeparate(() => ({ 'pipeline x': { status: 'down', detail: 'no model' } }));
    health.include('thread', () => other.parts());
    expect((await health.report()).parts['process']).toEqual({ status: 'down', detail: 'starting' });
    other.started();
    expect(await health.report()).toEqual({
      status: 'degraded',
      parts: {
        log: { status: 'degraded', detail: 'slow' },
        'pipeline x': { status: 'down', detail: 'no model' },
      },
    });
    await health.whenUp(0);
  });

  it('is down when another thread does not answer', async () => {
    const health = new Health(4);
    health.include('thread', never);
    expect(await health.report()).toEqual({
      status: 'down',
      parts: { thread: { status: 'down', detail: 'no answer in 6 ms' } },
    });
  });

  it('reports stuck parts, independently of parts that are down', async () => {
    const health = new Health();
    health.add('log', () => Promise.reject(new Error('refused')));
    expect(await health.stuck()).toEqual({});
    health.addStuck('score', () => 'asks nothing');
    health.addStuck('sink', () => undefined);
    expect(await health.stuck()).toEqual({ score: 'asks nothing' });
  });

  it('waits until nothing is down, and reports the parts that still are when it takes too long', async () => {
    const health = new Health();
    let asked = 0;
    health.add('log', () => ({ status: ++asked > 2 ? 'up' : 'down' }));
    await health.whenUp();
    expect(asked).toBe(3);
    health.add('registry', () => ({ status: 'down', detail: 'refused' }));
    await expect(health.whenUp(1)).rejects.toThrow(/registry \(refused\)/);
  });
});
