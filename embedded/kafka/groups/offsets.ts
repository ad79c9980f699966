import type { StateChange, StateStore } from '../storage/state-store.js';

export interface CommittedOffset {
  offset: number;
  leaderEpoch: number;
  metadata: string | null;
  /** Milliseconds since the epoch. */
  committedAt: number;
}

export interface PartitionOffset {
  topic: string;
  partition: number;
  committed: CommittedOffset;
}

/** The committed offsets of all groups, kept in the state store. */
export class Offsets {
  readonly #store: StateStore;
  readonly #groups = new Map<string, Map<string, PartitionOffset>>();

  constructor(store: StateStore) {
    this.#store = store;
    for (const { key, value } of store.entries<CommittedOffset>('offset')) {
      const [group = '', topic = '', partition = '0'] = key;
      this.#set(group, { topic, partition: Number(partition), committed: value });
    }
  }

  groupIds(): string[] {
    return [...this.#groups.keys()];
  }

  get(group: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#groups.get(group)?.get(partitionKey(topic, partition))?.committed;
  }

  all(group: string): PartitionOffset[] {
    return [...(this.#groups.get(group)?.values() ?? [])];
  }

  /** Resolves when the offsets are on disk. */
  commit(group: string, offsets: readonly PartitionOffset[]): Promise<void> {
    return this.#store.put(this.apply(group, offsets));
  }

  /**
   * Makes the offsets visible and returns the changes to store, so that the caller can store them with
   * others.
   */
  apply(group: string, offsets: readonly PartitionOffset[]): StateChange[] {
    return offsets.map((each) => {
      this.#set(group, each);
      return { key: storeKey(group, each.topic, each.partition), value: each.committed };
    });
  }

  remove(group: string, partitions: readonly { topic: string; partition: number }[]): Promise<void> {
    const offsets = this.#groups.get(group);
    for (const { topic, partition } of partitions) offsets?.delete(partitionKey(topic, partition));
    if (offsets?.size === 0) this.#groups.delete(group);
    return this.#store.put(
      partitions.map(({ topic, partition }) => ({
        key: storeKey(group, topic, partition),
        value: undefined,
      })),
    );
  }

  #set(group: string, offset: PartitionOffset): void {
    let offsets = this.#groups.get(group);
    if (offsets === undefined) this.#groups.set(group, (offsets = new Map()));
    offsets.set(partitionKey(offset.topic, offset.partition), offset);
  }
}

function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

function storeKey(group: string, topic: string, partition: number): string[] {
  return ['offset', group, topic, String(partition)];
}
