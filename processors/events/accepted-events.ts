import { LRUCache } from 'lru-cache';
import type { SharedStore } from '../../platform/shared-store.js';

/** How long copies share what was accepted, seconds. */
const sharedForSeconds = 3_600;

/** Digests of the events that were accepted last, by ids that may come again: what tells a repeat from another event. */
export class AcceptedEvents {
  readonly #digests = new LRUCache<string, string>({ max: 50_000 });
  readonly #shared: SharedStore | undefined;

  /** @param shared - where copies of the HTTP API find what the others accepted. */
  constructor(shared?: SharedStore) {
    this.#shared = shared;
  }

  get(key: string): string | undefined {
    return this.#digests.get(key);
  }

  /** Learns what other copies accepted under some keys, in one round trip; without a shared store nothing. */
  async learn(keys: readonly string[]): Promise<void> {
    const unknown = keys.filter((key) => !this.#digests.has(key));
    if (this.#shared === undefined || unknown.length === 0) return;
    const digests = await this.#shared.read(unknown.map(sharedKeyOf));
    for (const [index, key] of unknown.entries()) {
      const digest = digests[index];
      if (digest !== undefined) this.#digests.set(key, digest);
    }
  }

  /** Does not wait until others know it too. */
  add(key: string, digest: string): void {
    this.#digests.set(key, digest);
    this.#shared?.write({
      key: sharedKeyOf(key),
      value: digest,
      ttlSeconds: sharedForSeconds,
    });
  }
}

function sharedKeyOf(key: string): string {
  return `accepted:${key}`;
}
