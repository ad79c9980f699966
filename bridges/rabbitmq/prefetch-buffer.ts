import type { ConsumeMessage } from 'amqplib';

/** Maximum messages, and approximate maximum bytes, of one batch. */
const batchMessages = 1_000;
const batchBytes = 8 * 1024 * 1024;

/** Messages that RabbitMQ has delivered and that no batch contains yet, in order. */
export class PrefetchBuffer {
  #messages: ConsumeMessage[] = [];
  #wake: () => void = () => undefined;

  get length(): number {
    return this.#messages.length;
  }

  add(message: ConsumeMessage): void {
    this.#messages.push(message);
    this.#wake();
  }

  /** Returns the leading messages that are marked as redelivered. */
  redelivered(): ConsumeMessage[] {
    const fresh = this.#messages.findIndex(({ fields }) => !fields.redelivered);
    return fresh < 0 ? [...this.#messages] : this.#messages.slice(0, fresh);
  }

  take(count: number): ConsumeMessage[] {
    return this.#messages.splice(0, count);
  }

  takeBatch(): ConsumeMessage[] {
    let bytes = 0;
    let count = 0;
    for (const { content } of this.#messages) {
      bytes += content.length;
      if (count === batchMessages || (count > 0 && bytes > batchBytes)) break;
      count++;
    }
    return this.take(count);
  }

  /** Resolves when there are messages, or the signal aborts. */
  async whenSome(signal: AbortSignal): Promise<void> {
    if (this.#messages.length > 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end);
        resolve();
      };
      this.#wake = end;
      signal.addEventListener('abort', end, { once: true });
    });
  }
}
