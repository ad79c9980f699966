import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeClient, kcat } from './installed.js';
import { run } from './program.js';

const document = readFileSync(join(packageRoot, 'docs', 'kafka-clients.md'), 'utf8');

describeClient(kcat(), () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startSystem();
  });
  afterAll(() => system.stop());

  test('the documented commands put a JSON event and its outcome on the log, and read predictions', async () => {
    const commands = [...document.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text]) =>
      (text ?? '')
        .replaceAll('localhost:9092', system.endpoints.kafka.join(','))
        .replaceAll('examples/', join(packageRoot, 'examples/')),
    );
    expect(commands).toHaveLength(2);
    const [write = '', read = ''] = commands;
    await run(['sh', '-ec'], [write]);
    const row = `SELECT event_time FROM millrace.predictions WHERE event_id = 'kcat-1'`;
    await expect.poll(() => system.sql(row)).toEqual([{ event_time: '2026-01-31 12:00:00.000' }]);
    const outcome = `SELECT outcome FROM millrace.outcomes WHERE event_id = 'kcat-1'`;
    await expect.poll(() => system.sql(outcome)).toEqual([{ outcome: 1 }]);
    expect((await run(['sh', '-ec'], [read])).stdout).toMatch(/^client-7 .*ce_type=millrace\.prediction/m);
  });
});
