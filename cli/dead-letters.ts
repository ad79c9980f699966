import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import type { DeadLetterFilter } from '../processors/dead-letters/search.js';
import type { ResolutionKind } from '../processors/dead-letters/resolutions.js';
import { collect, pipelinesOf, time, wholeNumber } from './options.js';

/** Options that say which dead letters are meant, as commander reads them. */
interface FilterOptions {
  pipeline?: string[];
  reason?: string[];
  since?: number;
  until?: number;
}

interface ListOptions extends FilterOptions {
  state: string;
  limit: number;
  json?: boolean;
}

interface ResolveCommandOptions extends FilterOptions {
  all?: boolean;
  again?: boolean;
  dryRun?: boolean;
  rate?: number;
  note: string;
}

/** States that `list` can be asked for: `open` is without a resolution. */
export const states = ['open', 'redriven', 'discarded', 'all'];

/** `millrace dead-letters …`. */
export function deadLettersCommand(): Command {
  const command = new Command('dead-letters').description('look at records that failed, and put them back');
  withFilter(command.command('list'))
    .description('list dead letters, the newest first, and how many there are of each reason')
    .option('--state <state>', `one of ${states.join(', ')}`, oneOf(states), 'open')
    .option('--limit <n>', 'show at most so many', wholeNumber, 20)
    .option('--json', 'as one JSON object')
    .action(async (options: ListOptions) => {
      const { listDeadLetters } = await import('../ops/dead-letters/list.js');
      await listDeadLetters(loadConfig(process.env), {
        ...options,
        pipelines: await pipelinesOf(options),
        filter: filterOf(options, []),
      });
    });
  command
    .command('show')
    .description('show all of one dead letter')
    .argument('<id>', 'its id, as `list` shows it')
    .option('--json', 'as one JSON object')
    .option('--raw', 'write the bytes of its value, and nothing else')
    .action(async (id: string, options: { json?: boolean; raw?: boolean }) => {
      const { showDeadLetter } = await import('../ops/dead-letters/show.js');
      await showDeadLetter(loadConfig(process.env), id, { ...options, pipelines: await pipelinesOf({}) });
    });
  withResolution(command.command('redrive'), 'redriven')
    .description('put records back on the topics they came from, with the same event ids')
    .option('--rate <n>', 'put back at most so many a second', wholeNumber);
  withResolution(command.command('discard'), 'discarded').description(
    'say that dead letters are done with and not to be put back',
  );
  return command;
}

function withFilter(command: Command): Command {
  return command
    .option('--pipeline <name>', 'of this pipeline; may be repeated', collect)
    .option('--reason <code>', 'with this reason, such as UNDECODABLE; may be repeated', collect)
    .option(
      '--since <time>',
      'failed since: 90s, 30m, 2h, 7d ago, or a time such as 2026-01-31T12:00:00Z',
      time,
    )
    .option('--until <time>', 'failed before', time);
}

function withResolution(command: Command, kind: ResolutionKind): Command {
  return withFilter(command.argument('[ids...]', 'ids, as `list` shows them'))
    .option('--all', 'all that are open; needed where nothing else says which')
    .option('--again', 'also those that were redriven or discarded before')
    .option('--dry-run', 'only say what would be done')
    .option('--note <text>', 'why, to be kept with the resolution', '')
    .action(async (ids: string[], options: ResolveCommandOptions) => {
      const { since, until, reason, pipeline, all } = options;
      const given = [since, until, reason, pipeline, all].some((option) => option !== undefined);
      if (ids.length === 0 && !given) {
        throw new MillraceError(
          'NOTHING_SELECTED',
          'Say which: ids, --pipeline, --reason, --since or --until, or --all for all that are open.',
        );
      }
      const { resolve } = await import('../ops/dead-letters/resolve.js');
      await resolve(loadConfig(process.env), {
        ...options,
        kind,
        pipelines: await pipelinesOf(options),
        filter: filterOf(options, ids),
      });
    });
}

function filterOf({ reason, since, until }: FilterOptions, ids: string[]): DeadLetterFilter {
  return {
    ...(ids.length === 0 ? {} : { ids: new Set(ids) }),
    ...(reason === undefined ? {} : { reasons: new Set(reason) }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  };
}

function oneOf(values: readonly string[]): (value: string) => string {
  return (value) => {
    if (values.includes(value)) return value;
    throw new InvalidArgumentError(`It is one of ${values.join(', ')}.`);
  };
}
