import { expect, it } from 'vitest';
import { parseDay, parseTime, toTimeText } from './times.js';

it.each([
  ['2026-11-28T12:41:00Z', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28t12:41:00z', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28T12:41:00', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28T12:41', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28 12:41:00', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28 12:41:00.123456', '2026-11-28T12:41:00.123Z'],
  ['2026-11-28 12:41:00+00:00', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28 12:41:00+00', '2026-11-28T12:41:00.000Z'],
  ['2026-11-28T12:41:00+0530', '2026-11-28T07:11:00.000Z'],
  ['2026-11-28T12:41:00-06:00', '2026-11-28T18:41:00.000Z'],
  ['2026-11-28T12:41:00-00:30', '2026-11-28T13:11:00.000Z'],
  ['2026-11-28', '2026-11-28T00:00:00.000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ['1969-12-31T23:59:59.001Z', '1969-12-31T23:59:59.001Z'],
  ['1901-05-06T07:08:09.9', '1901-05-06T07:08:09.900Z'],
  ['0050-01-01T00:00:00Z', '0050-01-01T00:00:00.000Z'],
])('reads %s', (text, time) => {
  expect(new Date(parseTime(text) ?? Number.NaN).toISOString()).toBe(time);
});

it.each([
  '2026-02-30T00:00:00Z',
  '2026-02-30',
  '2025-02-29T12:00:00Z',
  '2026-13-01T00:00:00Z',
  '2026-04-31 10:00:00',
  '2026-01-30T24:00:00Z',
  '2026-01-30T23:60:00Z',
  '2016-12-31T23:59:60Z',
  '2026-01-30T12:00:00+24:00',
  '2026-01-30T12:00:00+01:60',
  '2026-01-30T12:00:00 Z',
  '2026-01-30T12:00:00,5Z',
  '2026-1-30T12:00:00Z',
  '30.01.2026 12:00:00',
  '12:00:00',
  '1769795100000',
  'today',
  '',
])('rejects %j', (text) => {
  expect(parseTime(text)).toBeUndefined();
});

it('reads days', () => {
  expect(parseDay('1970-01-01')).toBe(0);
  expect(parseDay('1969-12-31')).toBe(-1);
  expect(parseDay('2026-01-31')).toBe(20_484);
  for (const text of ['2026-02-29', '2026-1-31', '2026-01-31T00:00:00Z', '31.01.2026', ''])
    expect(parseDay(text)).toBeUndefined();
});

it('reads the usual form of every day as any other form, and of no other day', () => {
  for (const year of ['2023', '2024'])
    for (let month = 0; month <= 13; month++)
      for (let day = 0; day <= 32; day++) {
        const date = [year, ...[month, day].map((part) => String(part).padStart(2, '0'))].join('-');
        expect(parseTime(`${date}T23:59:59.999Z`)).toBe(parseTime(`${date} 23:59:59.999+00`));
      }
});

it('writes times in UTC', () => {
  for (const time of [0, 1, 1, -1, 0]) expect(toTimeText(time)).toBe(new Date(time).toISOString());
  expect(() => toTimeText(9e15)).toThrow(RangeError);
  expect(toTimeText(0)).toBe('1970-01-01T00:00:00.000Z');
});
