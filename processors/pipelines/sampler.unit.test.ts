import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { loadContract } from '../../schemas/contracts.js';
import { eventSchema } from '../../schemas/event-schema.js';
import type { CreditDefaultEvent } from '../../schemas/types.js';
import { loadSampler, seededRandom } from './sampler.js';

describe('loadSampler', () => {
  const sample = loadSampler<CreditDefaultEvent>(
    join(packageRoot, 'models/training/figures/credit-default.json'),
  );
  const random = seededRandom(7);
  const clients = Array.from({ length: 5000 }, () => sample(random));

  it('draws events that fit their contract', () => {
    const schema = eventSchema(loadContract('credit-default', 'event').schema);
    for (const client of clients) schema.parse(client);
  });

  it('draws columns with their distributions', () => {
    const women = clients.filter((client) => client.SEX === 2).length / clients.length;
    expect(women).toBeGreaterThan(0.57);
    expect(women).toBeLessThan(0.64);
    const limits = clients.map((client) => client.LIMIT_BAL).toSorted((a, b) => a - b);
    expect(limits[2500]).toBeGreaterThanOrEqual(120_000);
    expect(limits[2500]).toBeLessThanOrEqual(160_000);
    expect(new Set(limits.map((limit) => limit % 10_000))).toEqual(new Set([0]));
  });

  it('draws columns with their correlations', () => {
    const meanBill = (group: CreditDefaultEvent[]): number =>
      group.reduce((sum, client) => sum + client.BILL_AMT2, 0) / group.length;
    const billed = clients.filter((client) => client.BILL_AMT1 > 100_000);
    expect(meanBill(billed)).toBeGreaterThan(
      5 * meanBill(clients.filter((client) => client.BILL_AMT1 < 10_000)),
    );
  });

  it('draws the same from the same numbers', () => {
    expect(sample(seededRandom(3))).toEqual(sample(seededRandom(3)));
    expect(sample(seededRandom(3))).not.toEqual(sample(seededRandom(4)));
  });
});
