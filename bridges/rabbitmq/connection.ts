import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { type ChannelModel, type ConfirmChannel, connect, type RecoveringChannelModel } from 'amqplib';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import { tlsAdvice } from '../../platform/tls-problems.js';
import { codeOf } from './errors.js';
import { readPropertiesOf } from './message-properties.js';

export interface ConnectionOptions {
  /** `amqp://` or `amqps://`. Its password is never logged. */
  url: string;
  /** For `amqps:`, such as a private authority. Read once. Default: Node's. */
  tls?: TlsOptions;
  /** The name in RabbitMQ's list of connections. */
  name: string;
  logger: Logger;
  /** Whether another connection to the same server logs its outages. */
  quiet?: boolean;
  /** Called after each connect. Its errors are logged. */
  onConnect?: () => Promise<void>;
}

/** State of a part of the bridge. */
export interface BridgeStatus {
  ok: boolean;
  /** Since when, milliseconds since 1970. */
  since: number;
  /** What is wrong, or why the part is idle. */
  problem?: string;
}

/** Seconds without traffic after which the server counts as gone. */
const heartbeatSeconds = 10;

/** The frame size that every AMQP server and client supports. */
const minFrameMax = 4_096;

/** A connection to RabbitMQ that reconnects, without a limit, whenever it is lost. */
export class RabbitConnection {
  readonly #model: Promise<RecoveringChannelModel>;
  readonly #logger: Logger;
  readonly #where: string;
  readonly #level: 'debug' | undefined;
  readonly #onConnect: (() => Promise<void>) | undefined;
  #status: BridgeStatus = { ok: false, since: Date.now(), problem: 'connecting' };
  #frameMax = minFrameMax;
  /** Whether the current outage is logged. */
  #told = false;

  constructor({ url, tls = {}, name, logger, quiet = false, onConnect }: ConnectionOptions) {
    this.#level = quiet ? 'debug' : undefined;
    this.#onConnect = onConnect;
    const address = new URL(url);
    this.#where = address.host;
    if (!address.searchParams.has('heartbeat'))
      address.searchParams.set('heartbeat', String(heartbeatSeconds));
    this.#logger = logger.child({ rabbitmq: this.#where, connection: name });
    this.#model = connect(address.href, {
      ...(address.protocol === 'amqps:' ? tls : {}),
      noDelay: true,
      timeout: 10_000,
      clientProperties: { connection_name: name },
      recovery: {
        waitForConnect: false,
        initialDelay: 200,
        maxDelay: 5_000,
        setup: ({ connection }: ChannelModel) => {
          readPropertiesOf(connection);
          this.#frameMax = (connection as { frameMax?: number }).frameMax ?? minFrameMax;
        },
      },
    }).then((model) => this.#watch(model));
  }

  status(): BridgeStatus {
    return this.#status;
  }

  /**
   * Maximum frame size in bytes, as negotiated with RabbitMQ. The properties of a message have to fit into
   * one frame.
   */
  get frameMax(): number {
    return this.#frameMax;
  }

  /**
   * Opens a channel once there is a connection. The caller listens for its `close`.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable.
   */
  async channel(): Promise<ConfirmChannel> {
    try {
      const model = await this.#model;
      const channel = await model.createConfirmChannel();
      // The failed operation, or the `close` that follows, reports the error.
      channel.on('error', () => undefined);
      return channel;
    } catch (error) {
      throw this.unavailable(error);
    }
  }

  /** Runs one operation on its own channel, since a failure closes the channel. @throws RabbitMQ's error. */
  async use<T>(action: (channel: ConfirmChannel) => Promise<T>): Promise<T> {
    const channel = await this.channel();
    try {
      return await action(channel);
    } finally {
      await closeChannel(channel);
    }
  }

  /** Closes the connection. Everything that waits for it fails. */
  async close(): Promise<void> {
    const model = await this.#model;
    await model.close();
  }

  unavailable(error: unknown): MillraceError {
    return new MillraceError(
      'RABBITMQ_UNAVAILABLE',
      `RabbitMQ at ${this.#where} can't be used now: ${messageOf(error)}`,
      { cause: error },
    );
  }

  #watch(model: RecoveringChannelModel): RecoveringChannelModel {
    model.on('connect', () => {
      if (this.#told) this.#logger[this.#level ?? 'info']('RabbitMQ is reached again');
      this.#told = false;
      this.#status = { ok: true, since: Date.now() };
      this.#onConnect?.().catch((error: unknown) => this.#logger.warn(messageOf(error)));
    });
    model.on('disconnect', (error: Error) => this.#lost(error));
    model.on('connect-failed', (error: Error) => this.#lost(error));
    // `disconnect` follows.
    model.on('error', () => undefined);
    model.on('blocked', (reason: string) => {
      this.#logger.warn({ reason }, 'RabbitMQ takes nothing at the moment: it is short of memory or disk');
      this.#status = { ok: false, since: Date.now(), problem: `blocked by RabbitMQ: ${reason}` };
    });
    model.on('unblocked', () => {
      this.#logger.info('RabbitMQ takes messages again');
      this.#status = { ok: true, since: Date.now() };
    });
    return model;
  }

  #lost(error: Error): void {
    const hint = /403|ACCESS.REFUSED/.test(error.message)
      ? ' Check user, password and vhost in RABBITMQ_URL.'
      : ` ${tlsAdvice(error, 'RABBITMQ') ?? ''}`.trimEnd();
    const problem = `can't be reached at ${this.#where}: ${error.message || codeOf(error) || 'no answer'}.${hint}`;
    const { ok, since } = this.#status;
    this.#status = { ok: false, since: ok ? Date.now() : since, problem };
    if (this.#told) return;
    this.#told = true;
    this.#logger[this.#level ?? 'warn'](`RabbitMQ ${problem} Trying on.`);
  }
}

/** Closes a channel that may be closed already. */
export async function closeChannel(channel: ConfirmChannel): Promise<void> {
  try {
    await channel.close();
  } catch {
    // It was closed already.
  }
}
