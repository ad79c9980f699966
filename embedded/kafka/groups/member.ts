import { randomUUID } from 'node:crypto';
import type { Deferred } from '../deferred.js';
import { Reader } from '../protocol/reader.js';

/** The protocol type of consumers; others, such as Kafka Connect's workers, share other resources. */
export const consumerProtocol = 'consumer';

export interface Protocol {
  name: string;
  metadata: Buffer;
}

export interface JoinRequest {
  memberId: string;
  instanceId: string | null;
  clientId: string;
  clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  protocolType: string;
  protocols: Protocol[];
  /** JoinGroup 4 and later: a new member first gets an id with error 79, and joins with that. */
  requiresKnownMemberId: boolean;
}

export interface JoinAnswer {
  errorCode: number;
  generation: number;
  /** `null` when the join is refused. */
  protocolType: string | null;
  protocol: string;
  leader: string;
  memberId: string;
  /** Only for the leader. */
  members: { memberId: string; instanceId: string | null; metadata: Buffer }[];
}

export interface SyncAnswer {
  errorCode: number;
  assignment: Buffer;
}

export interface Member {
  id: string;
  instanceId: string | null;
  clientId: string;
  clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  protocols: Protocol[];
  assignment: Buffer;
  /** Set while its JoinGroup, or its SyncGroup, waits for the others: it can't time out meanwhile. */
  joining?: Deferred<JoinAnswer>;
  syncing?: Deferred<SyncAnswer>;
  cancelSession?: () => void;
}

export function sameProtocols(a: readonly Protocol[], b: readonly Protocol[]): boolean {
  return (
    a.length === b.length &&
    a.every((protocol, i) => protocol.name === b[i]?.name && protocol.metadata.equals(b[i].metadata))
  );
}

/** Returns the protocol that all members support and most of them prefer. */
export function chooseProtocol(members: readonly Member[]): string {
  const candidates = protocolsOfAll(members);
  const votes = new Map<string, number>();
  for (const { protocols } of members) {
    const favourite = protocols.find(({ name }) => candidates.has(name))?.name ?? '';
    votes.set(favourite, (votes.get(favourite) ?? 0) + 1);
  }
  return [...votes].toSorted((a, b) => b[1] - a[1])[0]?.[0] ?? '';
}

export function protocolsOfAll(members: readonly Member[]): Set<string> {
  const [first, ...others] = members.map(({ protocols }) => new Set(protocols.map(({ name }) => name)));
  return new Set([...(first ?? [])].filter((name) => others.every((other) => other.has(name))));
}

/**
 * Returns a consumer's subscriptions, or `undefined` when its metadata is unreadable.
 *
 *     Metadata => version i16 · [topic] · … (ConsumerProtocolSubscription)
 */
export function subscribedTopics(protocols: readonly Protocol[]): string[] | undefined {
  const [first] = protocols;
  if (first === undefined) return undefined;
  try {
    const reader = new Reader(first.metadata);
    reader.int16();
    return reader.array(() => reader.string());
  } catch {
    return undefined;
  }
}

/** A member that has just joined, without an assignment. */
export function newMember(id: string, request: JoinRequest): Member {
  const { instanceId, clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs } = request;
  const protocols = ownProtocols(request);
  return {
    id,
    instanceId,
    clientId,
    clientHost,
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    protocols,
    assignment: Buffer.alloc(0),
  };
}

/** Returns the protocols of a request, copied: a view would keep the request's frame alive. */
export function ownProtocols({ protocols }: JoinRequest): Protocol[] {
  return protocols.map(({ name, metadata }) => ({ name, metadata: Buffer.from(metadata) }));
}

export function newMemberId(prefix: string): string {
  return `${prefix}-${randomUUID()}`;
}
