/* oxlint-disable typescript/no-unsafe-type-assertion -- stand-ins */
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { type EventAcceptor, NotWritten } from '../../processors/events/accept-events.js';
import { PipelineSet } from '../../processors/pipelines/pipeline-set.js';
import { toProblem } from '../../platform/problem.js';
import { sendProblem } from '../problems.js';
import { pipelineRoutes } from './routes.js';

const timeout = new MillraceError('LOG_TIMEOUT', 'No answer in time.');
const tooLarge = new MillraceError('RECORD_TOO_LARGE', 'Too large.');

/** The answer of `/events` when the log has these errors. */
async function post(
  events: unknown,
  results: (string | MillraceError)[],
): Promise<{ status: number; body: unknown }> {
  const acceptor = { publish: () => Promise.resolve(results) } as unknown as EventAcceptor;
  const event = { schema: { type: 'record', name: 'P', fields: [] } };
  const pipelines = new PipelineSet([['p', { name: 'p', event } as unknown as OpenPipeline]]);
  const app = new Hono().route(
    '/',
    pipelineRoutes(pipelines, acceptor, { requestTimeoutMs: 1_000, maxEvents: 10 }),
  );
  app.onError((error, c) => sendProblem(c, error));
  const answer = await app.request('/p/events', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(events),
  });
  return { status: answer.status, body: await answer.json() };
}

test('a partly written list reports the written events, and the ids of the rest', async () => {
  const results = ['a', new NotWritten(timeout, 'b'), new NotWritten(tooLarge, 'c')];
  expect(await post([{}, {}, {}], results)).toMatchObject({
    status: 207,
    body: {
      accepted: 1,
      event_ids: ['a'],
      rejected: [
        { index: 1, code: 'LOG_TIMEOUT', status: 503, event_id: 'b' },
        { index: 2, code: 'RECORD_TOO_LARGE', status: 413, event_id: 'c' },
      ],
    },
  });
});

test('a list without a written event is unavailable, and names the ids', async () => {
  expect(await post([{}, {}], [new NotWritten(timeout, 'a'), new NotWritten(timeout, 'b')])).toMatchObject({
    status: 503,
    body: { code: 'LOG_TIMEOUT', accepted: 0, rejected: [{ event_id: 'a' }, { event_id: 'b' }] },
  });
});

test('an unwritten event has its id in its problem', async () => {
  expect(await post({}, [new NotWritten(tooLarge, 'a')])).toMatchObject({
    status: 413,
    body: { code: 'RECORD_TOO_LARGE', event_id: 'a' },
  });
});

test.each([
  ['RECORD_TOO_LARGE', 413],
  ['LOG_REFUSED', 422],
  ['LOG_UNAUTHORIZED', 503],
] as const)('%s is %i over HTTP', (code, status) => {
  expect(toProblem(new MillraceError(code, 'no')).status).toBe(status);
});
