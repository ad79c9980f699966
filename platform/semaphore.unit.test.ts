import { expect, test } from 'vitest';
import { Semaphore } from './semaphore.js';

test('runs as many tasks as its capacity, in order of arrival, and reports when it is idle', async () => {
  const semaphore = new Semaphore(2);
  const log: string[] = [];
  const finish: (() => void)[] = [];
  const work = ['a', 'b', 'c', 'd'].map((name) =>
    semaphore.run(async () => {
      log.push(name);
      await new Promise<void>((resolve) => finish.push(resolve));
      return name;
    }),
  );
  const idle = semaphore.whenIdle().then(() => log.push('idle'));
  await Promise.resolve();
  expect(log).toEqual(['a', 'b']);
  finish[0]?.();
  await work[0];
  expect(log).toEqual(['a', 'b', 'c']);
  finish[1]?.();
  finish[2]?.();
  await Promise.all([work[1], work[2]]);
  finish[3]?.();
  expect(await Promise.all(work)).toEqual(['a', 'b', 'c', 'd']);
  await idle;
  expect(log).toEqual(['a', 'b', 'c', 'd', 'idle']);
});

test('releases its capacity when a task fails', async () => {
  const semaphore = new Semaphore(1);
  await expect(semaphore.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await semaphore.run(() => Promise.resolve(1))).toBe(1);
  await semaphore.whenIdle();
});
