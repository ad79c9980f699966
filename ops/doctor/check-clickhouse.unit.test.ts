import { expect, it } from 'vitest';
import { checkDamage } from './check-clickhouse.js';
import { Diagnosis } from './diagnosis.js';

it('names each damaged part, and says what to do', async () => {
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
      what: `The part ${name} of millrace.predictions_storage was damaged and put aside (broken-on-start): its rows are missing`,
      fix: expect.stringContaining('millrace audit'),
    })),
  );
});

it('finds nothing wrong without one', async () => {
  const diagnosis = new Diagnosis();
  await checkDamage(diagnosis.notes('clickhouse'), () => Promise.resolve([]));
  expect(diagnosis.findings).toEqual([
    { severity: 'ok', area: 'clickhouse', what: 'No part of a table is damaged', fix: null },
  ]);
});
