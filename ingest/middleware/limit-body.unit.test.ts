import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { limitBody } from './limit-body.js';

const app = new Hono();
app.use(limitBody(10, (c) => c.text('too large', 413)));
app.post('/', async (c) => c.text(await c.req.text()));

/** A request in process has only the given headers. */
function post(body: string, headers: Record<string, string>): Promise<Response> {
  return Promise.resolve(app.request('/', { method: 'POST', body, headers }));
}

describe('limitBody', () => {
  it.each([
    ['a declared length at the limit', '0123456789', { 'content-length': '10' }, 200],
    ['a declared length over it', '01234567890', { 'content-length': '11' }, 413],
    ['chunks at the limit', '0123456789', { 'transfer-encoding': 'chunked' }, 200],
    ['chunks over it', '01234567890', { 'transfer-encoding': 'chunked' }, 413],
    [
      'chunks over it beside a length that lies',
      '01234567890',
      { 'content-length': '1', 'transfer-encoding': 'chunked' },
      413,
    ],
    ['no length', '01234567890', {}, 413],
  ])('%s', async (_, body, headers: Record<string, string>, status) => {
    expect((await post(body, headers)).status).toBe(status);
  });
});
