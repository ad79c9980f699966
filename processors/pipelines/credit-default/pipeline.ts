import type { CreditDefaultEvent } from '../../../schemas/types.js';
import { definePipeline } from '../pipeline.js';
import { loadSampler } from '../sampler.js';
import { join } from 'node:path';
import { packageRoot } from '../../../platform/paths.js';

/**
 * Probability that a credit-card client fails to make next month's payment, from the 23 columns of the UCI
 * table.
 */
export const pipeline = definePipeline<CreditDefaultEvent>({
  name: 'credit-default',
  features: (client) => [
    client.LIMIT_BAL,
    client.SEX,
    client.EDUCATION,
    client.MARRIAGE,
    client.AGE,
    client.PAY_0,
    client.PAY_2,
    client.PAY_3,
    client.PAY_4,
    client.PAY_5,
    client.PAY_6,
    client.BILL_AMT1,
    client.BILL_AMT2,
    client.BILL_AMT3,
    client.BILL_AMT4,
    client.BILL_AMT5,
    client.BILL_AMT6,
    client.PAY_AMT1,
    client.PAY_AMT2,
    client.PAY_AMT3,
    client.PAY_AMT4,
    client.PAY_AMT5,
    client.PAY_AMT6,
  ],
  sample: loadSampler(join(packageRoot, 'models/training/figures/credit-default.json')),
});
