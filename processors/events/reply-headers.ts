import type { StreamRecord } from '../../streams/records.js';

/** Headers by which an event says where its prediction is to go as a reply, and under which id the client knows it. */
export const replyToHeader = 'millrace-reply-to';
export const correlationIdHeader = 'millrace-correlation-id';

/** Those of a record that it has. */
export function replyHeaders({ headers }: StreamRecord): Record<string, Buffer> {
  const carried: Record<string, Buffer> = {};
  for (const name of [replyToHeader, correlationIdHeader]) {
    const value = headers[name];
    if (value !== undefined) carried[name] = value;
  }
  return carried;
}
