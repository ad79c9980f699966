import { expect, test } from 'vitest';
import { Mutex } from './mutex.js';

test('runs one task at a time, in order of arrival', async () => {
  const mutex = new Mutex();
  const log: string[] = [];
  const work = ['a', 'b', 'c'].map((name) =>
    mutex.run(async () => {
      log.push(`${name} begins`);
      await Promise.resolve();
      log.push(`${name} ends`);
    }),
  );
  expect(mutex.isIdle).toBe(false);
  await Promise.all(work);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  expect(mutex.isIdle).toBe(true);
});

test('a failure reaches only its caller', async () => {
  const mutex = new Mutex();
  const failing = mutex.run(() => Promise.reject(new Error('first')));
  const next = mutex.run(() => Promise.resolve('second'));
  await expect(failing).rejects.toThrow('first');
  expect(await next).toBe('second');
});
