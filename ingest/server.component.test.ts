import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hono } from 'hono';
import { expect, it } from 'vitest';
import { serveHttp } from './server.js';

/** One request on a keep-alive connection. */
function get(agent: Agent, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ agent, port, host: '127.0.0.1' }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    })
      .once('error', reject)
      .end();
  });
}

it('stops at once under a client that keeps its connection busy, and answers requests in flight', async () => {
  const app = new Hono();
  app.get('/', async (c) => {
    await sleep(20);
    return c.text('here');
  });
  const server = await serveHttp(app, '127.0.0.1', 0);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const statuses: number[] = [];
  const busy = async (): Promise<void> => {
    for (;;) statuses.push(await get(agent, server.port));
  };
  const refused = busy().catch((error: NodeJS.ErrnoException) => error.code);
  await expect.poll(() => statuses.length).toBeGreaterThan(2);
  const answered = statuses.length;
  // The test would time out if all of them were answered.
  await server.stop(600_000);
  // Requests in flight, and those that arrived before the server could close the connection.
  expect(statuses.length - answered).toBeLessThanOrEqual(2);
  // Reset when it arrived in the queue of a closing port.
  expect(['ECONNREFUSED', 'ECONNRESET']).toContain(await refused);
  expect(new Set(statuses)).toEqual(new Set([200]));
});
