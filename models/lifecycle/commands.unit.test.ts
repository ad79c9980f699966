import { describe, expect, it } from 'vitest';
import type { ModelEvent } from '../../schemas/types.js';
import {
  challenge,
  clearChallenger,
  type EventDraft,
  promote,
  register,
  rollback,
  seed,
  unregister,
} from './commands.js';
import {
  applyModelEvent,
  type LifecycleState,
  modelEventKey,
  type ModelState,
  unknownModel,
} from './state.js';

/** Applies commands in sequence. Returns the resulting state. */
function after(...commands: ((state: ModelState) => EventDraft[])[]): ModelState {
  let state: LifecycleState = new Map();
  let offset = 0;
  for (const command of commands) {
    for (const draft of command(state.get('m') ?? unknownModel('m'))) {
      const event: ModelEvent = { ...draft, model: 'm', source: 'test', at: offset };
      state = applyModelEvent(state, event, { key: modelEventKey(event), offset: offset++ });
    }
  }
  return state.get('m') ?? unknownModel('m');
}

const v1 = { version: '1', digest: 'd1' };
const v2 = { version: '2', digest: 'd2' };
const seeded = (state: ModelState): EventDraft[] => seed(state, [v2, v1]);
const promoted = (version: string) => (state: ModelState) => promote(state, version);
const code = (value: string): object => expect.objectContaining({ code: value }) as object;

describe('seed', () => {
  it('registers shipped versions and makes the newest the champion, once', () => {
    const state = after(seeded);
    expect([...state.versions.keys()]).toEqual(['2', '1']);
    expect(state.champion?.version).toBe('2');
    expect(seeded(state)).toEqual([]);
  });

  it('keeps the champion when a newer version ships', () => {
    const state = after(
      (before) => seed(before, [v1]),
      (before) => seed(before, [v2, v1]),
    );
    expect(state.champion?.version).toBe('1');
    expect(state.versions.get('2')?.digest).toBe('d2');
  });
});

describe('register', () => {
  it('is idempotent, and rejects a version or digest that is taken', () => {
    const state = after(seeded);
    expect(register(state, v1)).toEqual([]);
    expect(() => register(state, { version: '1', digest: 'other' })).toThrow(code('MODEL_CONFLICT'));
    // As an earlier release registered it.
    expect(register(state, { version: '1', digest: 'new', graphDigest: 'd1' })).toEqual([]);
    expect(register(state, { version: '3', digest: 'new', graphDigest: 'd1' })).toHaveLength(1);
    expect(() => register(state, { version: '3', digest: 'd1' })).toThrow(code('MODEL_CONFLICT'));
  });

  it.each(['', '.', '..', '../1', 'a/b', 'a@b', 'x'.repeat(101)])('rejects the version %j', (version) => {
    expect(() => register(unknownModel('m'), { version, digest: 'd' })).toThrow(code('MODEL_INVALID'));
  });
});

it('takes a version that an earlier release registered as the champion', () => {
  const shipped = [{ version: '1', digest: 'new', graphDigest: 'graph' }];
  const state = after(
    (before) => register(before, { version: '1', digest: 'graph' }),
    (before) => seed(before, shipped),
  );
  expect(state.champion).toMatchObject({ version: '1', digest: 'graph' });
});

describe('promote and rollback', () => {
  it('switch to a version, back, and forth again', () => {
    const state = after(seeded, promoted('1'));
    expect(state.champion).toMatchObject({ version: '1', digest: 'd1', previousVersion: '2' });
    expect(after(seeded, promoted('1'), rollback).champion?.version).toBe('2');
    expect(after(seeded, promoted('1'), rollback, rollback).champion?.version).toBe('1');
    expect(promote(state, '1')).toEqual([]);
  });

  it('reject unknown versions', () => {
    expect(() => promote(after(seeded), '9')).toThrow(code('MODEL_NOT_FOUND'));
    expect(() => rollback(after(seeded))).toThrow(code('MODEL_CONFLICT'));
  });

  it('remove the challenger only if it becomes the champion', () => {
    const challenged = (state: ModelState): EventDraft[] => challenge(state, '1', { shadow: true });
    expect(after(seeded, challenged, promoted('1')).challenger).toBeUndefined();
    const withThird = (state: ModelState): EventDraft[] => register(state, { version: '3', digest: 'd3' });
    expect(after(seeded, challenged, withThird, promoted('3')).challenger?.version).toBe('1');
  });
});

describe('challenge', () => {
  it('sets the options of the challenger, and clears it', () => {
    const challenged = (state: ModelState): EventDraft[] => challenge(state, '1', { canaryShare: 0.1 });
    const state = after(seeded, challenged);
    expect(state.challenger).toMatchObject({ version: '1', shadow: false, canaryShare: 0.1 });
    expect(challenge(state, '1', { canaryShare: 0.1 })).toEqual([]);
    expect(after(seeded, challenged, clearChallenger).challenger).toBeUndefined();
    expect(clearChallenger(after(seeded))).toEqual([]);
  });

  it.each([-0.1, 1.1, Number.NaN, Number.POSITIVE_INFINITY])('rejects the share %d', (canaryShare) => {
    expect(() => challenge(after(seeded), '1', { canaryShare })).toThrow(code('CANARY_SHARE_INVALID'));
  });

  it('rejects the champion and an unregistered version', () => {
    expect(() => challenge(after(seeded), '2', {})).toThrow(code('MODEL_CONFLICT'));
    expect(() => challenge(after(seeded), '9', {})).toThrow(code('MODEL_NOT_FOUND'));
  });
});

describe('unregister', () => {
  const forced = (version: string) => (state: ModelState) => unregister(state, version, { force: true });

  it('removes a version that no alias names', () => {
    const state = after(seeded, (before) => unregister(before, '1'));
    expect([...state.versions.keys()]).toEqual(['2']);
    expect(state.champion?.version).toBe('2');
    expect(() => unregister(state, '1')).toThrow(code('MODEL_NOT_FOUND'));
  });

  it('refuses the champion and the challenger without force', () => {
    const state = after(seeded, (before) => challenge(before, '1', { shadow: true }));
    for (const version of ['1', '2'])
      expect(() => unregister(state, version)).toThrow(code('MODEL_CONFLICT'));
  });

  it('restores the previous champion in place of the champion', () => {
    const state = after(seeded, promoted('1'), forced('1'));
    expect(state.champion).toMatchObject({ version: '2', digest: 'd2', previousVersion: null });
    expect([...state.versions.keys()]).toEqual(['2']);
  });

  it('leaves no champion without a previous one, and the next start takes the newest version', () => {
    const state = after(seeded, forced('2'));
    expect(state.champion).toBeUndefined();
    expect(after(seeded, forced('2'), seeded).champion?.version).toBe('2');
  });

  it('takes the challenger away', () => {
    const challenged = (state: ModelState): EventDraft[] => challenge(state, '1', { canaryShare: 0.1 });
    const state = after(seeded, challenged, forced('1'));
    expect([state.challenger, state.champion?.version]).toEqual([undefined, '2']);
  });

  it('lets a version be registered anew with another content', () => {
    const again = (state: ModelState): EventDraft[] => register(state, { version: '1', digest: 'other' });
    expect(after(seeded, (before) => unregister(before, '1'), again).versions.get('1')?.digest).toBe('other');
  });
});
