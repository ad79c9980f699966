import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../platform/config.js';
import { collect, pipelinesOf, time, wholeNumber } from './options.js';
import { printError } from './print-error.js';

interface Options {
  pipeline?: string[];
  since?: number;
  deep?: boolean;
  wait: number;
  limit: number;
  json?: boolean;
}

/** Exit codes for scripts, as in grep and diff: 1 is a result, 2 is an error. */
const clean = 0;
const findings = 1;
const notChecked = 2;

/** `millrace audit`. */
export function auditCommand(): Command {
  return new Command('audit')
    .description(
      'compare the log with the rows in ClickHouse and list missing and duplicate rows (exit code 0: clean, 1: findings, 2: could not check)',
    )
    .option('--pipeline <name>', 'only this pipeline; repeatable', collect)
    .option(
      '--since <time>',
      'only records since an age (90s, 30m, 2h, 7d) or a time such as 2026-01-31T12:00:00Z',
      time,
    )
    .option(
      '--deep',
      'read the whole log with its predictions and dead letters, not only the places where rows are missing',
    )
    .option(
      '--wait <seconds>',
      'wait up to this long for the records now on the log to be processed',
      seconds,
      0,
    )
    .option('--limit <n>', 'list at most this many findings', wholeNumber, 20)
    .option('--json', 'print one JSON object')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? clean : notChecked))
    .action(async (options: Options) => {
      try {
        process.exitCode = await run(options);
      } catch (error) {
        printError(error);
        process.exitCode = notChecked;
      }
    });
}

async function run({ pipeline, since, deep, wait, limit, json }: Options): Promise<number> {
  const [{ auditLog }, { describeReport }, { withEngines }, { findDamagedFiles }] = await Promise.all([
    import('../ops/audit/audit.js'),
    import('../ops/audit/print.js'),
    import('../ops/find-engines.js'),
    import('../app/start-engines.js'),
  ]);
  const config = loadConfig(process.env);
  const pipelines = await pipelinesOf({ pipeline }, config);
  const report = await withEngines(config, async ({ streams, serde, client }) =>
    auditLog({
      streams,
      serde,
      client,
      pipelines,
      since,
      deep: deep === true,
      waitMs: wait * 1000,
      limit,
      // The audit cannot see records that a damaged embedded log has lost.
      unfinished: (await findDamagedFiles(config)).map(
        (file) => `records that the log has lost, see ${file}`,
      ),
    }),
  );
  console.log(json ? JSON.stringify(report) : describeReport(report));
  if (!report.clean) return findings;
  return report.unfinished.length > 0 ? notChecked : clean;
}

function seconds(value: string): number {
  if (/^\d{1,6}(\.\d{1,3})?$/.test(value)) return Number(value);
  throw new InvalidArgumentError('Must be a number of seconds.');
}
