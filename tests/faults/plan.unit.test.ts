import { expect, it } from 'vitest';
import { seededRandom } from '../system/seeded-random.js';
import { makePlan, targetOf } from './plan.js';

const seeds = Array.from({ length: 200 }, (_, seed) => seed);

it('depends on the seed only', () => {
  expect(makePlan(seededRandom(7))).toEqual(makePlan(seededRandom(7)));
  expect(makePlan(seededRandom(7))).not.toEqual(makePlan(seededRandom(8)));
});

it('has every kind of fault, whatever the seed', () => {
  for (const seed of seeds) {
    const faults = makePlan(seededRandom(seed))
      .flat()
      .map(({ fault }) => ('member' in fault ? `${fault.kind} ${fault.member.split('-')[0]}` : fault.kind));
    expect(faults).toHaveLength(23);
    for (const kind of [
      'kill process',
      'kill sink',
      'kill serve',
      'pause process',
      'pause sink',
      'engine',
      'registry',
    ])
      expect(faults).toContain(kind);
  }
});

it('has one fault at a time per target', () => {
  for (const seed of seeds) {
    for (const round of makePlan(seededRandom(seed))) {
      const targets = round.map(({ fault }) => targetOf(fault));
      expect(new Set(targets).size).toBe(targets.length);
    }
  }
});
