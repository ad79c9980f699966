import { Hono } from 'hono';
import { expect, it } from 'vitest';
import { countTurns } from '../platform/testing/count-turns.js';
import { sendProblem } from './problems.js';
import { type BodyForm, parseJson, readRequestEvents, readText } from './request-body.js';

const maxEvents = 1_000;

const app = new Hono();
app.onError((error, c) => sendProblem(c, error));
app.post('/text/:form', async (c) => c.text(await readText(c, c.req.param('form') as BodyForm, maxEvents)));
app.post('/events', async (c) => {
  const { single, events } = await readRequestEvents(c, maxEvents);
  return c.json({ single, events: events.map((event) => (event instanceof Error ? event.message : event)) });
});

interface Answer {
  status: number;
  code?: string;
  detail?: string;
}

async function post(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  type = 'application/json',
): Promise<Answer> {
  const response = await app.request(path, { method: 'POST', body, headers: { 'content-type': type } });
  const { code, detail } = response.ok ? {} : ((await response.json()) as { code?: string; detail?: string });
  return { status: response.status, ...(code === undefined ? {} : { code, detail: detail ?? '' }) };
}

const ndjson = 'application/x-ndjson';

it.each([
  ['lines that are no JSON', 'x\n'.repeat(5_000_000), ndjson],
  ['lines that are quotes', '"\n'.repeat(5_000_000), ndjson],
  ['an array of numbers', `[${'1,'.repeat(5_000_000)}1]`, 'application/json'],
  ['an array of empty objects', `[${'{},'.repeat(3_000_000)}{}]`, 'application/json'],
  ['an array of empty arrays', ` [${'[],'.repeat(3_000_000)}[]]`, 'application/json'],
  ['an array of texts', `[${'"[{,",'.repeat(1_500_000)}0]`, 'application/json'],
])('counts %s before it parses them', async (_what, body, type) => {
  const { status, code, detail } = await post('/events', body, type);
  expect([status, code]).toEqual([413, 'TOO_MANY_EVENTS']);
  expect(detail).toMatch(/^The request has \d{7} events; at most 1000 are taken\./);
});

it.each([
  ['one event', `{${'"a":{},'.repeat(1_000_000)}"b":0}`, 'application/json'],
  ['an event of a list', `[{"a":1},{"a":[${'[],'.repeat(20_000)}[]]}]`, 'application/json'],
  ['a line', `{"a":1}\n{"a":[${'{},'.repeat(20_000)}{}]}\n`, ndjson],
])('refuses millions of values in %s', async (_what, body, type) => {
  expect(await post('/events', body, type)).toMatchObject({ status: 413, code: 'BODY_TOO_LARGE' });
});

it('accepts the maximum number of events, and ignores commas, brackets and quotes inside texts', async () => {
  const event = { a: 'x, [y] {z} \\" "', b: [1, 2], c: null };
  const list = Array.from({ length: maxEvents }, () => event);
  expect(await post('/events', JSON.stringify(list))).toEqual({ status: 200 });
  expect(await post('/events', JSON.stringify([...list, event]))).toMatchObject({ code: 'TOO_MANY_EVENTS' });
  const lines = list.map((each) => JSON.stringify(each)).join('\r\n\r\n');
  expect(await post('/events', `\n\n${lines}\n\n`, ndjson)).toEqual({ status: 200 });
  expect(await post('/events', `${lines}\n0`, ndjson)).toMatchObject({ code: 'TOO_MANY_EVENTS' });
  expect(await post('/events', '[]')).toMatchObject({ code: 'BODY_EMPTY' });
  expect(await post('/events', ' \n\t\r\n', ndjson)).toMatchObject({ code: 'BODY_EMPTY' });
});

it('yields to other work between lines', async () => {
  const turns = countTurns();
  await post('/events', 'x\n'.repeat(maxEvents), ndjson);
  expect(turns()).toBeGreaterThan(0);
});

const bytes = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, 'latin1'));

it.each([
  ['{"a":"Gr\xfcn"}', 8],
  ['{"a":"\xff\xfe"}', 6],
  // Truncated, overlong and surrogate forms; the last is valid except for its end.
  ['{"a":"\xef\xbf"}', 6],
  ['{"a":"\xef\xbf\xbd\xef\xbf', 9],
  ['{"a":"\xc0\xaf"}', 6],
  ['{"a":"\xed\xa0\x80"}', 6],
  ['{"a":"\xc3\xa9\xf0\x9f\x98', 8],
  ['\xff\xfe{\0}\0', 0],
])('reports where the bytes of %j are not UTF-8', async (body, at) => {
  for (const [path, type] of [
    ['/events', 'application/json'],
    ['/events', ndjson],
    ['/text/json', 'application/json'],
  ] as const)
    expect(await post(path, bytes(body), type)).toEqual({
      status: 400,
      code: 'JSON_INVALID',
      detail: `This is no JSON: it is not UTF-8 at byte ${at}.`,
    });
});

it('reads UTF-8 unchanged, without a byte order mark, including the replacement character', async () => {
  for (const mark of ['', '\ufeff']) {
    const response = await app.request('/text/json', { method: 'POST', body: `${mark}{"a":"é€😀\ufffd"}` });
    expect(await response.text()).toBe('{"a":"é€😀\ufffd"}');
  }
});

it.each(['utf-8', 'UTF-8', '"utf-8"', 'utf8', 'us-ascii'])('accepts the charset %s', async (charset) => {
  expect(await post('/events', '{}', `application/json; charset=${charset}`)).toEqual({ status: 200 });
});

it.each(['iso-8859-1', '"ISO-8859-1"', 'utf-16', 'windows-1252', 'utf-7', ''])(
  'refuses the charset %s with 415',
  async (charset) => {
    for (const [path, type] of [
      ['/events', 'application/json'],
      ['/events', ndjson],
      ['/text/json', 'text/plain'],
    ] as const)
      expect(await post(path, '{}', `${type};charset=${charset}`)).toMatchObject({
        status: 415,
        code: 'CONTENT_TYPE_UNSUPPORTED',
      });
  },
);

it('reports that compressed bodies are not supported', async () => {
  const headers = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
  const response = await app.request('/events', { method: 'POST', body: '{}', headers });
  expect([response.status, response.headers.get('accept-encoding')]).toEqual([415, 'identity']);
});

it('reports a truncated body as a client error, not as a server error', async () => {
  const body = new ReadableStream({
    pull: (controller) => controller.error(Object.assign(new Error('aborted'), { code: 'ECONNRESET' })),
  });
  const init = { method: 'POST', body, headers: { 'content-type': 'application/json' }, duplex: 'half' };
  const response = await app.request('/events', init as RequestInit);
  expect(response.status).toBe(499);
});

it('reports the error in invalid JSON', () => {
  expect(() => parseJson('{')).toThrow(/^This is no JSON: /);
});
