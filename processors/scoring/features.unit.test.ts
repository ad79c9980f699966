import { describe, expect, it } from 'vitest';
import type { ModelManifest } from '../../models/manifest.js';
import { makeRow } from './features.js';

const manifest = {
  inputs: [
    { name: 'age', dtype: 'float32', missing: 'nan' },
    { name: 'city', dtype: 'string' },
    { name: 'readings', dtype: 'float32', shape: [2] },
  ],
  runtime: { format: 'onnx', opsets: {}, output_tensor: 'y' },
} as unknown as ModelManifest;

const event = { age: 30, city: 'Oslo', readings: [1, 2], customer: { age: 40, tags: { home: 'Bergen' } } };

describe('makeRow', () => {
  it('takes the event field of each input without feature code', () => {
    expect(makeRow({ name: 'p' }, manifest, event)).toEqual([30, 'Oslo', [1, 2]]);
  });

  it('follows paths into records, maps and arrays', () => {
    const inputs = { age: 'customer.age', city: 'customer.tags.home', readings: 'windows.1' };
    const given = { ...event, windows: [[0, 0], [3, 4]] }; // prettier-ignore
    expect(makeRow({ name: 'p', inputs }, manifest, given)).toEqual([40, 'Bergen', [3, 4]]);
  });

  it.each(['customer.nothing', 'nothing.age', 'constructor', 'city.length', 'readings.7'])(
    'takes %s, which is not there, as missing',
    (age) => {
      const row = makeRow({ name: 'p', inputs: { age } }, manifest, event);
      expect(row).toEqual([Number.NaN, 'Oslo', [1, 2]]);
    },
  );

  it('uses the pipeline’s code instead, if it has some', () => {
    const features = () => [null, 'Rome', [5, 6]];
    expect(makeRow({ name: 'p', features }, manifest, event)).toEqual([Number.NaN, 'Rome', [5, 6]]);
  });

  it('names what it can’t use', () => {
    const invalid = { code: 'FEATURES_INVALID', message: expect.stringContaining('city is null') as unknown };
    expect(makeRow({ name: 'p' }, manifest, { ...event, city: null })).toMatchObject(invalid);
    const features = () => {
      throw new Error('no luck');
    };
    expect(makeRow({ name: 'p', features }, manifest, event)).toMatchObject({
      code: 'FEATURES_INVALID',
      message: 'The features of p failed: no luck.',
    });
  });
});
