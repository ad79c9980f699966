import { z } from 'zod';
import { messageOf } from './errors.js';

/** The pipeline that scores the messages of a queue. */
export interface QueueMapping {
  queue: string;
  pipeline: string;
}

/** A queue for predictions, and which: a pattern of routing keys `<pipeline>.<model>.<label>`. */
export interface ResultsQueue {
  queue: string;
  pattern: string;
}

/** Maximum bytes of AMQP 0-9-1 short strings, such as names of queues, exchanges and keys. */
const name = z.string().min(1).refine(isShort, 'is longer than 255 bytes');

const bindingSchema = z
  .strictObject({
    queue: name,
    /** Empty: the default exchange, which every queue is bound to by its name. */
    exchange: z.string().refine(isShort, 'is longer than 255 bytes'),
    /** Unset: the exchange must exist, of any type. */
    type: z.enum(['direct', 'fanout', 'topic', 'headers']).optional(),
    durable: z.boolean().default(true),
    routing_key: z.string().refine(isShort, 'is longer than 255 bytes').default(''),
    headers: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  })
  .refine(({ type, headers }) => type !== 'headers' || headers !== undefined, {
    error:
      'a binding to an exchange of the type headers needs `headers`, such as {"x-match": "all", "kind": "card"}',
  })
  .refine(({ type, headers }) => type === undefined || type === 'headers' || headers === undefined, {
    error: '`headers` are for exchanges of the type headers alone',
  });

/** A binding of a queue to an exchange. */
export type Binding = z.infer<typeof bindingSchema>;

/**
 * Parses queues. @throws Error with the problem of a text such as
 * `alicpp_records=credit-default,rides=taxi-trip-duration`.
 */
export function parseQueueMappings(text: string): QueueMapping[] {
  const mappings = items(text).map((item) => {
    const { left: queue, right: pipeline } = split(item);
    if (queue === '' || pipeline === undefined || pipeline === '')
      throw new Error(`${JSON.stringify(item)} is not of the form queue=pipeline`);
    checkName(queue);
    return { queue, pipeline };
  });
  if (mappings.length === 0) throw new Error('names no queue');
  checkOnce(mappings.map(({ queue }) => queue));
  return mappings;
}

/**
 * Parses queues for results. @throws Error with the problem of a text such as
 * `scores,defaults=credit-default.*.default`.
 */
export function parseResultsQueues(text: string): ResultsQueue[] {
  return items(text).map((item) => {
    const { left: queue, right: pattern = '#' } = split(item);
    if (queue === '' || pattern === '')
      throw new Error(`${JSON.stringify(item)} is not of the form queue or queue=pattern`);
    checkName(queue);
    return { queue, pattern };
  });
}

/** Parses bindings. @throws Error with the problem of a JSON list. */
export function parseBindings(text: string): Binding[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(
      'is not JSON: a list such as [{"queue": "q", "exchange": "x", "type": "topic", "routing_key": "a.#"}]',
    );
  }
  const result = z.array(bindingSchema, { error: 'must be a list of bindings' }).safeParse(json);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => `[${path.join('.')}] ${message}`);
  throw new Error(problems.join('; '));
}

function items(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Splits at the last `=`: a pipeline has none in its name, a queue may. */
function split(item: string): { left: string; right: string | undefined } {
  const at = item.lastIndexOf('=');
  return at < 0
    ? { left: item, right: undefined }
    : { left: item.slice(0, at).trim(), right: item.slice(at + 1).trim() };
}

function checkName(queue: string): void {
  if (!isShort(queue)) throw new Error(`the name ${JSON.stringify(queue)} is longer than 255 bytes`);
}

function checkOnce(queues: readonly string[]): void {
  const twice = queues.find((queue, index) => queues.indexOf(queue) !== index);
  if (twice !== undefined) throw new Error(`names the queue ${JSON.stringify(twice)} twice`);
}

function isShort(text: string): boolean {
  return Buffer.byteLength(text) <= 255;
}

/** The settings of the bridge, by environment variable. The bridge parses lists. */
export const rabbitmqVariables = {
  RABBITMQ_URL: z
    .url({ protocol: /^amqps?$/ })
    .optional()
    .describe('URL of RabbitMQ: amqp://, or amqps:// for TLS. Unset: no bridge.'),
  RABBITMQ_QUEUES: z
    .string()
    .default('alicpp_records=credit-default')
    .superRefine(parsedBy(parseQueueMappings))
    .describe('Input queues and the pipelines that score their messages: queue=pipeline, comma-separated.'),
  RABBITMQ_BINDINGS: z
    .string()
    .default('[]')
    .superRefine(parsedBy(parseBindings))
    .describe(
      'Bindings of input queues to exchanges: a JSON list of objects with queue, exchange, and optionally type, routing_key, headers, durable.',
    ),
  RABBITMQ_RESULTS_QUEUES: z
    .string()
    .default('')
    .superRefine(parsedBy(parseResultsQueues))
    .describe(
      'Output queues for predictions, comma-separated: queue, or queue=pattern of routing keys. Unset: consumers bind queues to the exchange.',
    ),
  RABBITMQ_PREFETCH: z.coerce
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(2_000)
    .describe('Maximum number of messages in flight for a queue.'),
  RABBITMQ_RETRY_LIMIT: z.coerce
    .number()
    .int()
    .min(0)
    .max(20)
    .default(8)
    .describe('Maximum number of retries of a message after a transient error.'),
  RABBITMQ_RETRY_DELAY_MS: z.coerce
    .number()
    .int()
    .min(1)
    .max(60_000)
    .default(1_000)
    .describe('Delay before the first retry, milliseconds. It doubles with each retry, up to ten minutes.'),
};

/** A check that `parse` accepts a text. */
function parsedBy(
  parse: (text: string) => unknown,
): (text: string, context: z.RefinementCtx<string>) => void {
  return (text, context) => {
    try {
      parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: messageOf(error) });
    }
  };
}
