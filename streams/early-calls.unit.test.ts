import { expect, test } from 'vitest';
import { EarlyCalls } from './early-calls.js';

/** Returns the times of calls that are made as early as they may, from a time on. */
function callsFrom(calls: EarlyCalls, start: number, count: number): number[] {
  const times: number[] = [];
  for (let now = start; times.length < count; now = Math.max(now, calls.next)) {
    times.push(now);
    calls.note(now);
  }
  return times;
}

test('after a pause some calls are early, then one per interval', () => {
  const calls = new EarlyCalls(200);
  expect(callsFrom(calls, 10_000, 7)).toEqual([10_000, 10_000, 10_000, 10_000, 10_000, 10_200, 10_400]);
  expect(callsFrom(calls, 11_000, 4)).toEqual([11_000, 11_000, 11_000, 11_200]);
});

test('after a reset one interval passes first, and a burst takes as many', () => {
  const calls = new EarlyCalls(200);
  calls.reset(10_000);
  expect(callsFrom(calls, calls.next, 3)).toEqual([10_200, 10_400, 10_600]);
});

test('many calls in a short time delay the next early one by one interval only', () => {
  const calls = new EarlyCalls(200);
  for (let call = 0; call < 100; call++) calls.note(10_000);
  expect(calls.next).toBe(10_200);
});
