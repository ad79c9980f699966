import type { ConsumeMessage } from 'amqplib';
import { ConsumerSpan } from '../../platform/tracing/spans.js';
import { toTraceHeaders, type TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { isTracing } from '../../platform/tracing/traces.js';

export type MessageSpans = ReadonlyMap<ConsumeMessage, ConsumerSpan>;

/**
 * Starts the processing spans of messages whose trace is recorded. A message without trace headers starts a
 * new trace. Attributes: https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
 */
export function traceMessages(messages: readonly ConsumeMessage[], queue: string): MessageSpans {
  const spans = new Map<ConsumeMessage, ConsumerSpan>();
  if (!isTracing()) return spans;
  for (const message of messages) {
    const { content, fields } = message;
    const { messageId, correlationId } = message.properties as { messageId?: string; correlationId?: string };
    const source = { system: 'rabbitmq' as const, source: queue };
    const span = ConsumerSpan.start(source, { sender: senderOf(message), mayBegin: true }, () => ({
      'messaging.message.id': messageId,
      'messaging.message.conversation_id': correlationId,
      'messaging.rabbitmq.destination.routing_key': fields.routingKey,
      'messaging.rabbitmq.message.delivery_tag': fields.deliveryTag,
      'messaging.message.body.size': content.length,
    }));
    if (span !== undefined) spans.set(message, span);
  }
  return spans;
}

/** Ends the spans of messages, with the error that all failed with. */
export function endAll(spans: MessageSpans, error: unknown): void {
  for (const span of spans.values()) span.end(error);
}

/** Returns the trace headers of a message. Their names are those that W3C defines for HTTP. */
export function senderOf({ properties }: ConsumeMessage): TraceHeaders | undefined {
  const { headers } = properties;
  return headers && toTraceHeaders(headers['traceparent'], headers['tracestate']);
}
