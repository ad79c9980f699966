import type { ConsumeMessage } from 'amqplib';
import { toTraceHeaders, type TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { type Processing, type Timed, traces } from '../../platform/tracing/traces.js';

/** The processings of messages that a trace is recorded of. */
export interface TracedMessages extends Timed {
  of(message: ConsumeMessage): Processing | undefined;
}

const noTraces: TracedMessages = { of: () => undefined, end: () => undefined };

/** Begins the processing of messages. One that belongs to no trace may begin one. */
export function traceMessages(messages: readonly ConsumeMessage[], queue: string): TracedMessages {
  const on = traces();
  if (on === undefined) return noTraces;
  const spans = new Map<ConsumeMessage, Processing>();
  for (const message of messages) {
    const span = on.process(() => deliveryOf(message, queue), senderOf(message), true);
    if (span !== undefined) spans.set(message, span);
  }
  return {
    of: (message) => spans.get(message),
    end: (error) => spans.forEach((span) => span.end(error)),
  };
}

/** The trace that a message belongs to, by headers with the names that W3C has for HTTP. */
export function senderOf({ properties }: ConsumeMessage): TraceHeaders | undefined {
  const { headers } = properties;
  return headers && toTraceHeaders(headers['traceparent'], headers['tracestate']);
}

/** https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/ */
function deliveryOf({ content, fields, properties }: ConsumeMessage, queue: string) {
  const { messageId, correlationId } = properties as { messageId?: string; correlationId?: string };
  return {
    system: 'rabbitmq' as const,
    source: queue,
    messageId,
    attributes: {
      'messaging.message.conversation_id': correlationId,
      'messaging.rabbitmq.destination.routing_key': fields.routingKey,
      'messaging.rabbitmq.message.delivery_tag': fields.deliveryTag,
      'messaging.message.body.size': content.length,
    },
  };
}
