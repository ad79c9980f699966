import { beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../testing/manual-clock.js';
import { Group } from './group.js';
import type { JoinAnswer, JoinRequest } from './member.js';

let clock: ManualClock;
let group: Group;

beforeEach(() => {
  clock = new ManualClock();
  group = new Group('g', clock);
});

test('the first member leads, gets the members, assigns, and is stable', async () => {
  const joined = await group.join(request());
  expect(joined).toMatchObject({ errorCode: 0, generation: 1, protocol: 'range', leader: joined.memberId });
  expect(joined.members).toEqual([
    { memberId: joined.memberId, instanceId: null, metadata: Buffer.from('meta') },
  ]);
  expect(group.state).toBe('CompletingRebalance');
  const synced = await group.sync(joined.memberId, null, 1, [
    { memberId: joined.memberId, assignment: Buffer.from('all') },
  ]);
  expect(synced).toEqual({ errorCode: 0, assignment: Buffer.from('all') });
  expect(group.state).toBe('Stable');
  expect(group.heartbeat(joined.memberId, null, 1)).toBe(0);
});

test('from version 4 on a new member gets its id first, and the group waits for it', async () => {
  const refused = await group.join(request({ requiresKnownMemberId: true }));
  expect(refused.errorCode).toBe(79);
  expect(refused.memberId).toMatch(/^client-/);
  const other = group.join(request());
  expect(group.state).toBe('PreparingRebalance');
  const [joined] = await Promise.all([
    group.join(request({ memberId: refused.memberId, requiresKnownMemberId: true })),
    other,
  ]);
  expect(joined).toMatchObject({ errorCode: 0, memberId: refused.memberId, generation: 1 });
});

test('an id without a join is forgotten after the session timeout', async () => {
  const refused = await group.join(request({ requiresKnownMemberId: true }));
  const other = group.join(request());
  clock.advance(10_000);
  expect((await other).errorCode).toBe(0);
  expect((await group.join(request({ memberId: refused.memberId }))).errorCode).toBe(25);
});

test('a second member: the first learns of the rebalance by heartbeat and joins again', async () => {
  const first = await stable();
  const secondJoin = group.join(request());
  expect(group.heartbeat(first.memberId, null, 1)).toBe(27);
  expect(group.checkCommit(first.memberId, null, 1)).toBe(0);
  const [again, second] = await Promise.all([group.join(request({ memberId: first.memberId })), secondJoin]);
  expect(again).toMatchObject({ generation: 2, leader: first.memberId });
  expect(again.members).toHaveLength(2);
  expect(second.members).toEqual([]);
  expect(group.checkCommit(second.memberId, null, 2)).toBe(27);
  const follower = group.sync(second.memberId, null, 2, []);
  await group.sync(first.memberId, null, 2, [
    { memberId: first.memberId, assignment: Buffer.from('1') },
    { memberId: second.memberId, assignment: Buffer.from('2') },
  ]);
  expect((await follower).assignment.toString()).toBe('2');
  expect(group.heartbeat(second.memberId, null, 1)).toBe(22);
  expect(group.heartbeat('stranger', null, 2)).toBe(25);
});

test('a member that does not rejoin within the rebalance timeout is dropped', async () => {
  const first = await stable({ sessionTimeoutMs: 1_000_000 });
  const second = group.join(request());
  clock.advance(59_999);
  expect(group.state).toBe('PreparingRebalance');
  clock.advance(1);
  expect(await second).toMatchObject({ generation: 2, errorCode: 0 });
  expect((await second).leader).toBe((await second).memberId);
  expect(group.heartbeat(first.memberId, null, 2)).toBe(25);
});

test('a silent member is removed, and the others rebalance', async () => {
  const first = await stable();
  clock.advance(9_000);
  expect(group.heartbeat(first.memberId, null, 1)).toBe(0);
  clock.advance(9_999);
  expect(group.members.size).toBe(1);
  clock.advance(1);
  expect(group.members.size).toBe(0);
  expect(group.state).toBe('Empty');
  expect(group.heartbeat(first.memberId, null, 1)).toBe(25);
});

test('a waiting SyncGroup gets an error to rejoin when another member joins', async () => {
  const first = await group.join(request());
  const secondJoin = group.join(request());
  const [again, second] = await Promise.all([group.join(request({ memberId: first.memberId })), secondJoin]);
  const waiting = group.sync(second.memberId, null, again.generation, []);
  void group.join(request());
  expect((await waiting).errorCode).toBe(27);
});

test('leaving starts a rebalance; the last one leaves the group empty', async () => {
  const first = await stable();
  expect(group.leave('stranger', null)).toBe(25);
  expect(group.leave(first.memberId, null)).toBe(0);
  expect(group.state).toBe('Empty');
  expect(group.checkCommit('', null, -1)).toBe(0);
});

test('protocols: no common one is refused, the most preferred one is chosen', async () => {
  const first = await stable({ protocols: protocols('range', 'sticky') });
  expect((await group.join(request({ protocols: protocols('other') }))).errorCode).toBe(23);
  expect((await group.join(request({ protocolType: 'connect' }))).errorCode).toBe(23);
  expect((await group.join(request({ protocols: [] }))).errorCode).toBe(23);
  const others = [1, 2].map(() => group.join(request({ protocols: protocols('sticky', 'range') })));
  const again = await group.join(
    request({ memberId: first.memberId, protocols: protocols('range', 'sticky') }),
  );
  await Promise.all(others);
  expect(again.protocol).toBe('sticky');
});

test('a static member that restarts keeps its membership without a rebalance, and its old id is fenced', async () => {
  const first = await stable({ instanceId: 'i1' });
  const again = await group.join(request({ instanceId: 'i1' }));
  expect(again).toMatchObject({ errorCode: 0, generation: 1, leader: first.memberId, members: [] });
  expect(again.memberId).not.toBe(first.memberId);
  expect((await group.sync(again.memberId, 'i1', 1, [])).assignment.toString()).toBe('mine');
  expect(group.heartbeat(first.memberId, 'i1', 1)).toBe(82);
  expect(group.checkCommit(first.memberId, 'i1', 1)).toBe(82);
  expect(group.leave(first.memberId, 'i1')).toBe(82);
  expect(group.leave('', 'i1')).toBe(0);
  expect(group.state).toBe('Empty');
});

test('a waiting join is fenced when its static instance joins again', async () => {
  await stable({ sessionTimeoutMs: 1_000_000 });
  const waiting = group.join(request({ instanceId: 'i1' }));
  void group.join(request({ instanceId: 'i1' }));
  expect((await waiting).errorCode).toBe(82);
});

test('transactional commits are fenced by member and generation when they name one', async () => {
  const first = await stable();
  expect(group.checkTransactionalCommit('', null, -1)).toBe(0);
  expect(group.checkTransactionalCommit(first.memberId, null, 1)).toBe(0);
  expect(group.checkTransactionalCommit(first.memberId, null, 0)).toBe(22);
  expect(group.checkTransactionalCommit('stranger', null, 1)).toBe(25);
});

async function stable(overrides: Partial<JoinRequest> = {}): Promise<JoinAnswer> {
  const joined = await group.join(request(overrides));
  await group.sync(joined.memberId, overrides.instanceId ?? null, joined.generation, [
    { memberId: joined.memberId, assignment: Buffer.from('mine') },
  ]);
  expect(group.state).toBe('Stable');
  return joined;
}

function protocols(...names: string[]): JoinRequest['protocols'] {
  return names.map((name) => ({ name, metadata: Buffer.from('meta') }));
}

function request(overrides: Partial<JoinRequest> = {}): JoinRequest {
  return {
    memberId: '',
    instanceId: null,
    clientId: 'client',
    clientHost: '127.0.0.1',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000,
    protocolType: 'consumer',
    protocols: protocols('range'),
    requiresKnownMemberId: false,
    ...overrides,
  };
}
