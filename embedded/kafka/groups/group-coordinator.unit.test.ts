import { beforeEach, expect, test } from 'vitest';
import type { StateStore } from '../storage/state-store.js';
import { ManualClock } from '../testing/manual-clock.js';
import { GroupCoordinator } from './group-coordinator.js';
import type { JoinRequest } from './member.js';
import { Offsets } from './offsets.js';

const day = 24 * 3600 * 1000;
let clock: ManualClock;
let groups: GroupCoordinator;

beforeEach(() => {
  clock = new ManualClock();
  const store = { entries: () => [], put: () => Promise.resolve() } as unknown as StateStore;
  groups = new GroupCoordinator(new Offsets(store), clock);
});

test('a group without members and commits is forgotten', async () => {
  const { memberId } = await groups.join('left', request);
  await groups.join('member', request);
  groups.get('left')?.leave(memberId, null);
  await groups.expire();
  expect(groups.ids()).toEqual(['member']);
  expect(groups.stateOf('left')).toBe('Dead');
});

test('a group with offsets is kept until they expire', async () => {
  const { memberId } = await groups.join('g', request);
  const committed = { offset: 1, leaderEpoch: -1, metadata: null, committedAt: clock.now() };
  await groups.offsets.commit('g', [{ topic: 't', partition: 0, committed }]);
  groups.get('g')?.leave(memberId, null);
  clock.advance(6 * day);
  await groups.expire();
  expect(groups.stateOf('g')).toBe('Empty');
  clock.advance(2 * day);
  await groups.expire();
  expect(groups.ids()).toEqual([]);
});

test('a pending member keeps its group, until its id expires', async () => {
  const { errorCode } = await groups.join('promised', { ...request, requiresKnownMemberId: true });
  expect(errorCode).toBe(79);
  await groups.expire();
  expect(groups.ids()).toEqual(['promised']);
  clock.advance(request.sessionTimeoutMs);
  await groups.expire();
  expect(groups.ids()).toEqual([]);
});

test('refused joins leave no groups behind', async () => {
  for (let i = 0; i < 10; i++) {
    expect((await groups.join(`g-${i}`, { ...request, protocols: [] })).errorCode).toBe(23);
  }
  expect(groups.ids()).toEqual([]);
});

const request: JoinRequest = {
  memberId: '',
  instanceId: null,
  clientId: 'client',
  clientHost: '127.0.0.1',
  sessionTimeoutMs: 10_000,
  rebalanceTimeoutMs: 10_000,
  protocolType: 'consumer',
  protocols: [{ name: 'range', metadata: Buffer.from('meta') }],
  requiresKnownMemberId: false,
};
