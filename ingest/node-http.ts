import type { IncomingHttpHeaders } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';

/**
 * Returns the headers of a request, as Node has parsed them. The `Headers` object of the web standard, which
 * Hono makes of them, costs more than all middleware together. Without a server (`app.request()`) they are
 * made of that.
 */
export function requestHeaders(c: Context): IncomingHttpHeaders {
  return (c.env as Partial<HttpBindings> | undefined)?.incoming?.headers ?? c.req.header();
}

/** Sets a header of the answer, for the same reason on Node's own answer. */
export function setHeader(c: Context, name: string, value: string): void {
  const outgoing = (c.env as Partial<HttpBindings> | undefined)?.outgoing;
  if (outgoing === undefined) c.header(name, value);
  else outgoing.setHeader(name, value);
}
