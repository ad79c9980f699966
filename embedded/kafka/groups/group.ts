import type { Clock } from '../clock.js';
import { deferred } from '../deferred.js';
import { ErrorCode } from '../protocol/error-codes.js';
import {
  chooseProtocol,
  newMember,
  newMemberId,
  ownProtocols,
  protocolsOfAll,
  sameProtocols,
} from './member.js';
import type { JoinAnswer, JoinRequest, Member, SyncAnswer } from './member.js';

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead';

/**
 * One consumer group under the classic protocol (KIP-62, KIP-345, KIP-394):
 *
 *     Empty → PreparingRebalance (members join) → CompletingRebalance (the leader assigns) → Stable
 *
 * All changes happen in the tick of the call, so no locks are needed. Membership is in memory only: after a
 * restart of the broker the members join again.
 */
export class Group {
  readonly id: string;
  state: GroupState = 'Empty';
  generation = 0;
  protocolType = '';
  protocol = '';
  leader = '';
  readonly members = new Map<string, Member>();
  readonly #clock: Clock;
  /**
   * Ids assigned with error 79 whose members have not joined yet, each with the function that stops its
   * timer.
   */
  readonly #promised = new Map<string, () => void>();
  readonly #staticMembers = new Map<string, string>();
  #cancelJoinTimer: (() => void) | undefined;

  constructor(id: string, clock: Clock) {
    this.id = id;
    this.#clock = clock;
  }

  /** Whether it has no members, and no pending ones. */
  get vacant(): boolean {
    return this.members.size === 0 && this.#promised.size === 0;
  }

  join(request: JoinRequest): Promise<JoinAnswer> {
    if (!this.#accepts(request))
      return this.#refuseJoin(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, request.memberId);
    if (request.memberId === '') {
      return request.instanceId === null
        ? this.#joinNew(request)
        : this.#joinStatic(request, request.instanceId);
    }
    const stopPromise = this.#promised.get(request.memberId);
    if (stopPromise !== undefined) {
      stopPromise();
      this.#promised.delete(request.memberId);
      return this.#add(request.memberId, request);
    }
    const error = this.#identify(request.memberId, request.instanceId);
    const member = this.members.get(request.memberId);
    if (error !== ErrorCode.NONE || member === undefined) return this.#refuseJoin(error, request.memberId);
    return this.#rejoin(member, request);
  }

  sync(
    memberId: string,
    instanceId: string | null,
    generation: number,
    assignments: readonly { memberId: string; assignment: Buffer }[],
  ): Promise<SyncAnswer> {
    const error = this.#checkMember(memberId, instanceId, generation);
    const member = this.members.get(memberId);
    if (error !== ErrorCode.NONE || member === undefined) return refuseSync(error);
    if (this.state === 'PreparingRebalance') return refuseSync(ErrorCode.REBALANCE_IN_PROGRESS);
    if (this.state === 'Stable') {
      this.#restartSession(member);
      return Promise.resolve({ errorCode: ErrorCode.NONE, assignment: member.assignment });
    }
    member.syncing?.resolve({ errorCode: ErrorCode.REBALANCE_IN_PROGRESS, assignment: Buffer.alloc(0) });
    member.syncing = deferred();
    const { promise } = member.syncing;
    this.#stopSession(member);
    if (memberId === this.leader) this.#assign(assignments);
    return promise;
  }

  heartbeat(memberId: string, instanceId: string | null, generation: number): number {
    const error = this.#checkMember(memberId, instanceId, generation);
    const member = this.members.get(memberId);
    if (error !== ErrorCode.NONE || member === undefined) return error;
    this.#restartSession(member);
    return this.state === 'PreparingRebalance' ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE;
  }

  leave(memberId: string, instanceId: string | null): number {
    const id =
      memberId === '' && instanceId !== null ? (this.#staticMembers.get(instanceId) ?? '') : memberId;
    const stopPromise = this.#promised.get(id);
    if (stopPromise !== undefined) {
      stopPromise();
      this.#promised.delete(id);
      this.#completeJoinIfAllJoined();
      return ErrorCode.NONE;
    }
    const error = this.#identify(id, instanceId);
    const member = this.members.get(id);
    if (error !== ErrorCode.NONE || member === undefined) return error;
    this.#remove(member);
    return ErrorCode.NONE;
  }

  /** Whether an offset commit of this member is valid; counts as a heartbeat. */
  checkCommit(memberId: string, instanceId: string | null, generation: number): number {
    if (generation < 0 && memberId === '') {
      // A consumer without group management may commit while the group has no members.
      return this.members.size === 0 ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID;
    }
    const error = this.#checkMember(memberId, instanceId, generation);
    const member = this.members.get(memberId);
    if (error !== ErrorCode.NONE || member === undefined) return error;
    if (this.state === 'CompletingRebalance') return ErrorCode.REBALANCE_IN_PROGRESS;
    this.#restartSession(member);
    return ErrorCode.NONE;
  }

  /**
   * Fencing of a transactional commit (TxnOffsetCommit 3); older clients send no member and are not checked.
   */
  checkTransactionalCommit(memberId: string, instanceId: string | null, generation: number): number {
    if (memberId === '' && generation < 0) return ErrorCode.NONE;
    return this.#checkMember(memberId, instanceId, generation);
  }

  /** Ends all timers; waiting members get an error to find the coordinator again. */
  stop(): void {
    this.#cancelJoinTimer?.();
    for (const cancel of this.#promised.values()) cancel();
    for (const member of this.members.values()) {
      this.#stopSession(member);
      this.#answerWaiting(member, ErrorCode.COORDINATOR_NOT_AVAILABLE);
    }
    this.state = 'Dead';
  }

  #accepts(request: JoinRequest): boolean {
    if (request.protocols.length === 0 || request.protocolType === '') return false;
    const others = [...this.members.values()].filter(
      ({ id, instanceId }) =>
        id !== request.memberId && (instanceId === null || instanceId !== request.instanceId),
    );
    if (others.length === 0) return true;
    const common = protocolsOfAll(others);
    return (
      request.protocolType === this.protocolType && request.protocols.some(({ name }) => common.has(name))
    );
  }

  #joinNew(request: JoinRequest): Promise<JoinAnswer> {
    const memberId = newMemberId(request.clientId);
    if (!request.requiresKnownMemberId) return this.#add(memberId, request);
    const cancel = this.#clock.after(request.sessionTimeoutMs, () => {
      this.#promised.delete(memberId);
      this.#completeJoinIfAllJoined();
    });
    this.#promised.set(memberId, cancel);
    return this.#refuseJoin(ErrorCode.MEMBER_ID_REQUIRED, memberId);
  }

  #joinStatic(request: JoinRequest, instanceId: string): Promise<JoinAnswer> {
    const memberId = newMemberId(instanceId);
    const oldId = this.#staticMembers.get(instanceId);
    const old = oldId === undefined ? undefined : this.members.get(oldId);
    if (old === undefined) return this.#add(memberId, request);

    // The instance restarted: it takes over its membership, and users of the old member id are fenced.
    this.#stopSession(old);
    this.#answerWaiting(old, ErrorCode.FENCED_INSTANCE_ID);
    this.members.delete(old.id);
    const oldLeader = this.leader;
    if (this.leader === old.id) this.leader = memberId;
    const unchanged = sameProtocols(old.protocols, request.protocols);
    const member: Member = { ...newMember(memberId, request), assignment: old.assignment };
    this.members.set(memberId, member);
    this.#staticMembers.set(instanceId, memberId);
    if (this.state !== 'Stable' || !unchanged) return this.#waitForJoin(member);
    this.#restartSession(member);
    // With its old id as the leader's, a restarted leader does not assign again: nothing has changed for the
    // group.
    return Promise.resolve({ ...this.#joined(member), leader: oldLeader, members: [] });
  }

  #rejoin(member: Member, request: JoinRequest): Promise<JoinAnswer> {
    const unchanged = sameProtocols(member.protocols, request.protocols);
    const repeated =
      (this.state === 'CompletingRebalance' && unchanged) ||
      (this.state === 'Stable' && unchanged && member.id !== this.leader);
    if (repeated) {
      this.#restartSession(member);
      return Promise.resolve(this.#joined(member));
    }
    member.protocols = ownProtocols(request);
    member.sessionTimeoutMs = request.sessionTimeoutMs;
    member.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
    return this.#waitForJoin(member);
  }

  #add(memberId: string, request: JoinRequest): Promise<JoinAnswer> {
    if (this.members.size === 0) this.protocolType = request.protocolType;
    const member = newMember(memberId, request);
    this.members.set(memberId, member);
    if (request.instanceId !== null) this.#staticMembers.set(request.instanceId, memberId);
    if (this.leader === '') this.leader = memberId;
    return this.#waitForJoin(member);
  }

  #waitForJoin(member: Member): Promise<JoinAnswer> {
    this.#stopSession(member);
    member.joining?.resolve(joinError(ErrorCode.REBALANCE_IN_PROGRESS, member.id));
    member.joining = deferred();
    const { promise } = member.joining;
    if (this.state === 'PreparingRebalance') this.#completeJoinIfAllJoined();
    else this.#prepareRebalance();
    return promise;
  }

  #prepareRebalance(): void {
    for (const member of this.members.values()) {
      member.assignment = Buffer.alloc(0);
      if (member.syncing === undefined) continue;
      member.syncing.resolve({ errorCode: ErrorCode.REBALANCE_IN_PROGRESS, assignment: Buffer.alloc(0) });
      member.syncing = undefined;
      this.#restartSession(member);
    }
    this.state = 'PreparingRebalance';
    const timeoutMs = Math.max(0, ...[...this.members.values()].map((member) => member.rebalanceTimeoutMs));
    this.#cancelJoinTimer?.();
    this.#cancelJoinTimer = this.#clock.after(timeoutMs, () => this.#completeJoin());
    this.#completeJoinIfAllJoined();
  }

  #completeJoinIfAllJoined(): void {
    if (this.state !== 'PreparingRebalance' || this.#promised.size > 0) return;
    if ([...this.members.values()].every((member) => member.joining !== undefined)) this.#completeJoin();
  }

  #completeJoin(): void {
    this.#cancelJoinTimer?.();
    this.#cancelJoinTimer = undefined;
    for (const member of this.members.values()) {
      // An absent static member keeps its membership until its session ends.
      if (member.joining === undefined && member.instanceId === null) this.#forget(member);
    }
    this.generation++;
    const members = [...this.members.values()];
    const present = members.filter(({ joining }) => joining !== undefined);
    if (present.length === 0) {
      this.state = members.length === 0 ? 'Empty' : 'PreparingRebalance';
      if (members.length === 0) this.protocol = this.leader = '';
      return;
    }
    this.protocol = chooseProtocol(members);
    if (!present.some(({ id }) => id === this.leader)) this.leader = present[0]?.id ?? '';
    this.state = 'CompletingRebalance';
    for (const member of present) {
      const { joining } = member;
      member.joining = undefined;
      this.#restartSession(member);
      joining?.resolve(this.#joined(member));
    }
  }

  #assign(assignments: readonly { memberId: string; assignment: Buffer }[]): void {
    for (const { memberId, assignment } of assignments) {
      const member = this.members.get(memberId);
      // Copied: a view would keep the request's frame alive.
      if (member !== undefined) member.assignment = Buffer.from(assignment);
    }
    this.state = 'Stable';
    for (const member of this.members.values()) {
      const { syncing } = member;
      if (syncing === undefined) continue;
      member.syncing = undefined;
      this.#restartSession(member);
      syncing.resolve({ errorCode: ErrorCode.NONE, assignment: member.assignment });
    }
  }

  #remove(member: Member): void {
    this.#answerWaiting(member, ErrorCode.UNKNOWN_MEMBER_ID);
    this.#forget(member);
    if (this.state === 'PreparingRebalance') this.#completeJoinIfAllJoined();
    else if (this.state !== 'Empty') this.#prepareRebalance();
  }

  #forget(member: Member): void {
    this.#stopSession(member);
    this.members.delete(member.id);
    if (member.instanceId !== null) this.#staticMembers.delete(member.instanceId);
    if (this.leader === member.id) this.leader = '';
  }

  #answerWaiting(member: Member, errorCode: number): void {
    member.joining?.resolve(joinError(errorCode, member.id));
    member.syncing?.resolve({ errorCode, assignment: Buffer.alloc(0) });
    member.joining = member.syncing = undefined;
  }

  #joined(member: Member): JoinAnswer {
    const metadata = ({ protocols }: Member): Buffer =>
      protocols.find(({ name }) => name === this.protocol)?.metadata ?? Buffer.alloc(0);
    return {
      errorCode: ErrorCode.NONE,
      generation: this.generation,
      protocolType: this.protocolType,
      protocol: this.protocol,
      leader: this.leader,
      memberId: member.id,
      members:
        member.id === this.leader
          ? [...this.members.values()].map((each) => {
              return { memberId: each.id, instanceId: each.instanceId, metadata: metadata(each) };
            })
          : [],
    };
  }

  #identify(memberId: string, instanceId: string | null): number {
    if (instanceId !== null) {
      const current = this.#staticMembers.get(instanceId);
      if (current !== undefined && current !== memberId) return ErrorCode.FENCED_INSTANCE_ID;
    }
    return this.members.has(memberId) ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID;
  }

  #checkMember(memberId: string, instanceId: string | null, generation: number): number {
    const error = this.#identify(memberId, instanceId);
    if (error !== ErrorCode.NONE) return error;
    return generation === this.generation ? ErrorCode.NONE : ErrorCode.ILLEGAL_GENERATION;
  }

  #refuseJoin(errorCode: number, memberId: string): Promise<JoinAnswer> {
    return Promise.resolve(joinError(errorCode, memberId));
  }

  #restartSession(member: Member): void {
    this.#stopSession(member);
    if (member.joining !== undefined || member.syncing !== undefined) return;
    member.cancelSession = this.#clock.after(member.sessionTimeoutMs, () => this.#remove(member));
  }

  #stopSession(member: Member): void {
    member.cancelSession?.();
    member.cancelSession = undefined;
  }
}

/** The answer to a member that can't join, or must join again. */
export function joinError(errorCode: number, memberId: string): JoinAnswer {
  return { errorCode, generation: -1, protocolType: null, protocol: '', leader: '', memberId, members: [] };
}

function refuseSync(errorCode: number): Promise<SyncAnswer> {
  return Promise.resolve({ errorCode, assignment: Buffer.alloc(0) });
}
