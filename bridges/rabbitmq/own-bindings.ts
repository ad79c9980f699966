import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import type { RabbitConnection } from './connection.js';
import { type OwnBinding, removeBinding } from './topology.js';

const catchUpMs = 10_000;

export interface OwnBindingsOptions {
  streams: Streams;
  producer: LogProducer;
  /** Identity of the RabbitMQ server. */
  url: string;
  /** The bindings of the current settings. */
  wanted: readonly OwnBinding[];
  logger: Logger;
}

/**
 * The bindings that settings asked for, now and at earlier starts. AMQP can't list bindings, so they are
 * stored on the log before they are made. Bindings that no setting names any more can then be removed, and no
 * others.
 */
export class OwnBindings {
  readonly #options: OwnBindingsOptions;
  readonly #key: string;
  #stale: readonly OwnBinding[];

  private constructor(options: OwnBindingsOptions, key: string, stale: readonly OwnBinding[]) {
    this.#options = options;
    this.#key = key;
    this.#stale = stale;
  }

  /** Reads the stored bindings, and adds the wanted ones. @throws MillraceError of the log. */
  static async open(options: OwnBindingsOptions): Promise<OwnBindings> {
    const { streams, url, wanted } = options;
    const { host, pathname } = new URL(url);
    // No queue, whose ledger is keyed by its name, has this name.
    const key = `\0bindings ${host}${pathname}`;
    const kept = await read(streams, key);
    const stale = kept.filter((each) => !wanted.some((other) => isDeepStrictEqual(each, other)));
    const own = new OwnBindings(options, key, stale);
    if (!isDeepStrictEqual(kept, wanted)) await own.#keep([...stale, ...wanted]);
    return own;
  }

  /** Removes the bindings that settings no longer ask for. @throws RabbitMQ's error. */
  async removeStale(connection: RabbitConnection): Promise<void> {
    const { logger, wanted } = this.#options;
    if (this.#stale.length === 0) return;
    for (const binding of this.#stale) {
      await removeBinding(connection, binding);
      logger.info(binding, 'a binding was removed that no setting names any more');
    }
    this.#stale = [];
    await this.#keep(wanted).catch((error: unknown) => logger.warn(messageOf(error)));
  }

  async #keep(bindings: readonly OwnBinding[]): Promise<void> {
    const value = Buffer.from(JSON.stringify({ bindings }));
    await this.#options.producer.send([{ topic: systemTopics.rabbitmq, key: this.#key, value }]);
  }
}

async function read(streams: Streams, key: string): Promise<OwnBinding[]> {
  let kept: OwnBinding[] = [];
  const follower = await streams.follow({
    topics: [systemTopics.rabbitmq],
    handle: (records) => {
      for (const record of records) {
        if (record.key?.toString() !== key) continue;
        kept = (JSON.parse(String(record.value)) as { bindings: OwnBinding[] }).bindings;
      }
    },
  });
  try {
    await follower.whenCaughtUp({ timeoutMs: catchUpMs });
  } finally {
    await follower.stop();
  }
  return kept;
}
