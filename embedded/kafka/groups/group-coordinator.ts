import type { Clock } from '../clock.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { Group, joinError } from './group.js';
import type { GroupState } from './group.js';
import type { JoinAnswer, JoinRequest } from './member.js';
import type { Offsets } from './offsets.js';

const minSessionTimeoutMs = 6_000;
const maxSessionTimeoutMs = 30 * 60_000;
/** Offsets of a group without members expire after this time (Kafka's `offsets.retention.minutes`). */
const offsetRetentionMs = 7 * 24 * 3600 * 1000;

/** All consumer groups of the broker: those with members, and those with only offsets left. */
export class GroupCoordinator {
  readonly offsets: Offsets;
  readonly #clock: Clock;
  readonly #groups = new Map<string, Group>();

  constructor(offsets: Offsets, clock: Clock) {
    this.offsets = offsets;
    this.#clock = clock;
  }

  join(groupId: string, request: JoinRequest): Promise<JoinAnswer> {
    const refuse = (errorCode: number): Promise<JoinAnswer> =>
      Promise.resolve(joinError(errorCode, request.memberId));
    if (groupId === '') return refuse(ErrorCode.INVALID_GROUP_ID);
    if (request.sessionTimeoutMs < minSessionTimeoutMs || request.sessionTimeoutMs > maxSessionTimeoutMs) {
      return refuse(ErrorCode.INVALID_SESSION_TIMEOUT);
    }
    const known = this.#groups.get(groupId);
    // A member id from before the broker's restart must not create a group without that member.
    if (known === undefined && request.memberId !== '') return refuse(ErrorCode.UNKNOWN_MEMBER_ID);
    const group = known ?? new Group(groupId, this.#clock);
    const answer = group.join(request);
    // A refused join leaves no group behind.
    if (!group.vacant) this.#groups.set(groupId, group);
    return answer;
  }

  /** Returns a group with members, or one that recently had some. */
  get(groupId: string): Group | undefined {
    return this.#groups.get(groupId);
  }

  ids(): string[] {
    return [...new Set([...this.#groups.keys(), ...this.offsets.groupIds()])];
  }

  /** State of a missing group: Dead, as in Kafka. */
  stateOf(groupId: string): GroupState {
    return this.#groups.get(groupId)?.state ?? (this.exists(groupId) ? 'Empty' : 'Dead');
  }

  exists(groupId: string): boolean {
    return this.#groups.has(groupId) || this.offsets.all(groupId).length > 0;
  }

  checkCommit(groupId: string, memberId: string, instanceId: string | null, generation: number): number {
    if (groupId === '') return ErrorCode.INVALID_GROUP_ID;
    const group = this.#groups.get(groupId);
    if (group !== undefined) return group.checkCommit(memberId, instanceId, generation);
    return generation < 0 && memberId === '' ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID;
  }

  checkTransactionalCommit(
    groupId: string,
    memberId: string,
    instanceId: string | null,
    generation: number,
  ): number {
    if (groupId === '') return ErrorCode.INVALID_GROUP_ID;
    const group = this.#groups.get(groupId);
    if (group !== undefined) return group.checkTransactionalCommit(memberId, instanceId, generation);
    return memberId === '' && generation < 0 ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID;
  }

  /** Removes a group without members, with its offsets. */
  async delete(groupId: string): Promise<number> {
    if (groupId === '') return ErrorCode.INVALID_GROUP_ID;
    if (!this.exists(groupId)) return ErrorCode.GROUP_ID_NOT_FOUND;
    const group = this.#groups.get(groupId);
    if (group !== undefined && group.members.size > 0) return ErrorCode.NON_EMPTY_GROUP;
    group?.stop();
    this.#groups.delete(groupId);
    await this.offsets.remove(groupId, this.offsets.all(groupId));
    return ErrorCode.NONE;
  }

  /** Removes the offsets of a deleted topic, as Kafka does. */
  async topicDeleted(topic: string): Promise<void> {
    await Promise.all(
      this.offsets.groupIds().map(async (groupId) => {
        const gone = this.offsets.all(groupId).filter((offset) => offset.topic === topic);
        if (gone.length > 0) await this.offsets.remove(groupId, gone);
      }),
    );
  }

  /** Removes offsets after their retention, then empty groups; runs periodically. */
  async expire(): Promise<void> {
    const oldest = this.#clock.now() - offsetRetentionMs;
    for (const groupId of this.offsets.groupIds()) {
      if (this.#groups.get(groupId)?.vacant === false) continue;
      const expired = this.offsets.all(groupId).filter(({ committed }) => committed.committedAt < oldest);
      if (expired.length > 0) await this.offsets.remove(groupId, expired);
    }
    for (const [groupId, group] of this.#groups) {
      if (!group.vacant || this.offsets.all(groupId).length > 0) continue;
      group.stop();
      this.#groups.delete(groupId);
    }
  }

  stop(): void {
    for (const group of this.#groups.values()) group.stop();
  }
}
