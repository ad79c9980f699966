import { expect, it } from 'vitest';
import { checkDamage } from './check-clickhouse.js';
import { Diagnosis } from './diagnosis.js';

it('reports each damaged part with a fix', async () => {
  const rows = ['a', 'b'].map((name) => ({
    table: 'predictions_storage',
    name,
    reason: 'broken-on-start',
  }));
  const diagnosis = new Diagnosis();
  await checkDamage(diagnosis.notes('clickhouse'), <Row>() => Promise.resolve(rows as Row[]));
  expect(diagnosis.findings).toEqual(
    rows.map(({ name }) => ({
      severity: 'error',
      area: 'clickhouse',
      what: `The part ${name} of millrace.predictions_storage was damaged and detached (broken-on-start): its rows are missing`,
      fix: expect.stringContaining('millrace audit'),
    })),
  );
});

it('is ok without damaged parts', async () => {
  const diagnosis = new Diagnosis();
  await checkDamage(diagnosis.notes('clickhouse'), () => Promise.resolve([]));
  expect(diagnosis.findings).toEqual([
    { severity: 'ok', area: 'clickhouse', what: 'No part of a table is damaged', fix: null },
  ]);
});
