import { describe, expect, it } from 'vitest';
import type { ModelEvent } from '../../schemas/types.js';
import { applyModelEvent, type LifecycleState, modelEventKey } from './state.js';

const base: ModelEvent = {
  model: 'm',
  kind: 'registered',
  version: '1',
  digest: 'd1',
  previous_version: null,
  shadow: false,
  canary_share: 0,
  source: 'test',
  at: 1000,
};

/** Returns the state after events, the first at offset 0. */
function stateOf(...events: Partial<ModelEvent>[]): LifecycleState {
  return events.reduce<LifecycleState>((state, set, offset) => {
    const event = { ...base, ...set };
    return applyModelEvent(state, event, { key: modelEventKey(event), offset });
  }, new Map());
}

describe('applyModelEvent', () => {
  it.each([2 ** 53, 8.64e15 + 1, -(2 ** 53)])('skips an event with an invalid time (%d)', (at) => {
    const before = stateOf({});
    const event = { ...base, version: '2', at };
    expect(applyModelEvent(before, event, { key: modelEventKey(event), offset: 1 })).toBe(before);
  });

  it.each(['', '.', '..', '.hidden', 'a/../../b', '1+/../../other', '1\\2', '1\0'])(
    'skips an event of a version that is no folder (%j)',
    (version) => {
      for (const kind of ['registered', 'champion', 'challenger'] as const) {
        const before = stateOf({}, { kind });
        const event = { ...base, kind, version };
        expect(applyModelEvent(before, event, { key: modelEventKey(event), offset: 2 })).toBe(before);
      }
    },
  );

  it.each(['1', '2024-06_b.1', '1+0123456789ab', 'June 2024 (b)'])('has the version %s', (version) => {
    expect([...(stateOf({ version }).get('m')?.versions.keys() ?? [])]).toEqual([version]);
  });

  it('has registered versions and both aliases of the newest events', () => {
    const state = stateOf(
      {},
      { version: '2', digest: 'd2', at: 2000 },
      { kind: 'champion' },
      { kind: 'challenger', version: '2', digest: 'd2', shadow: true, canary_share: 0.25, at: 3000 },
      { kind: 'champion', version: '2', digest: 'd2', previous_version: '1', at: 4000 },
    );
    expect(state.get('m')).toEqual({
      model: 'm',
      versions: new Map([
        ['1', { version: '1', digest: 'd1', source: 'test', registeredAt: 1000 }],
        ['2', { version: '2', digest: 'd2', source: 'test', registeredAt: 2000 }],
      ]),
      champion: { version: '2', digest: 'd2', previousVersion: '1', event: 4, at: 4000 },
      challenger: {
        version: '2',
        digest: 'd2',
        previousVersion: null,
        event: 3,
        at: 3000,
        shadow: true,
        canaryShare: 0.25,
      },
    });
  });

  it('is the same after compaction', () => {
    const events = [
      { kind: 'champion' },
      { kind: 'challenger', canary_share: 0.5 },
      { kind: 'challenger', version: null, digest: null },
      { kind: 'champion', version: '2', digest: 'd2', previous_version: '1' },
    ] as const;
    const all = stateOf(...events).get('m');
    const compacted = applyModelEvent(
      applyModelEvent(new Map(), { ...base, ...events[2] }, { key: 'm@challenger', offset: 2 }),
      { ...base, ...events[3] },
      { key: 'm@champion', offset: 3 },
    ).get('m');
    expect(compacted).toEqual(all);
    expect(all?.challenger).toBeUndefined();
  });

  it('loses an unregistered version, and gets it back when it is registered anew', () => {
    const gone = { version: '1', digest: null };
    expect([...(stateOf({}, { version: '2', digest: 'd2' }, gone).get('m')?.versions.keys() ?? [])]).toEqual([
      '2',
    ]);
    expect(stateOf({}, gone, { digest: 'new' }).get('m')?.versions.get('1')?.digest).toBe('new');
    const before = stateOf({});
    expect(applyModelEvent(before, { ...base, version: '9', digest: null }, { key: 'm/9', offset: 1 })).toBe(
      before,
    );
  });

  it('has no champion after one that was taken away', () => {
    const state = stateOf({}, { kind: 'champion' }, { kind: 'champion', version: null, digest: null });
    expect(state.get('m')?.champion).toBeUndefined();
  });

  it('keeps models apart', () => {
    const state = stateOf({ kind: 'champion' }, { model: 'n', kind: 'champion', version: '7', digest: 'd7' });
    expect([...state].map(([model, { champion }]) => [model, champion?.version])).toEqual([
      ['m', '1'],
      ['n', '7'],
    ]);
  });

  it.each<[string, Partial<ModelEvent>, string?]>([
    ['a champion without a version', { kind: 'champion', version: null, digest: null }],
    ['a version without a digest', { kind: 'champion', digest: null }],
    ['a share above 1', { kind: 'challenger', canary_share: 1.5 }],
    ['a share that is no number', { kind: 'challenger', canary_share: Number.NaN }],
    ['another key than its own', { kind: 'champion' }, 'm@challenger'],
  ])('is not changed by %s', (_, set, key) => {
    const before = stateOf({});
    const event = { ...base, ...set };
    expect(applyModelEvent(before, event, { key: key ?? modelEventKey(event), offset: 1 })).toBe(before);
  });
});
