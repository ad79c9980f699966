import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import type { DeadLetterFilter } from '../processors/dead-letters/search.js';
import type { ResolutionKind } from '../processors/dead-letters/resolutions.js';
import { collect, pipelinesOf, time, wholeNumber } from './options.js';

/** Options that select dead letters, as parsed by commander. */
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

/** States that `list` accepts. `open` means without a resolution. */
export const states = ['open', 'redriven', 'discarded', 'all'];

/** `millrace dead-letters …`. */
export function deadLettersCommand(): Command {
  const command = new Command('dead-letters').description(
    'inspect failed records, and redrive or discard them',
  );
  withFilter(command.command('list'))
    .description('list dead letters, newest first, with a count by reason')
    .option('--state <state>', `one of ${states.join(', ')}`, oneOf(states), 'open')
    .option('--limit <n>', 'show at most this many', wholeNumber, 20)
    .option('--json', 'print one JSON object')
    .action(async (options: ListOptions) => {
      const { listDeadLetters } = await import('../ops/dead-letters/list.js');
      const config = loadConfig(process.env);
      await listDeadLetters(config, {
        ...options,
        pipelines: await pipelinesOf(options, config),
        filter: filterOf(options, []),
      });
    });
  command
    .command('show')
    .description('show one dead letter in full')
    .argument('<id>', 'id, as shown by `list`')
    .option('--json', 'print one JSON object')
    .option('--raw', 'write only the bytes of its value')
    .action(async (id: string, options: { json?: boolean; raw?: boolean }) => {
      const { showDeadLetter } = await import('../ops/dead-letters/show.js');
      const config = loadConfig(process.env);
      await showDeadLetter(config, id, { ...options, pipelines: await pipelinesOf({}, config) });
    });
  withResolution(command.command('redrive'), 'redriven')
    .description('write records back to their source topics, with the same event ids')
    .option('--rate <n>', 'write at most this many records per second', wholeNumber);
  withResolution(command.command('discard'), 'discarded').description(
    'mark dead letters as resolved without a redrive',
  );
  return command;
}

function withFilter(command: Command): Command {
  return command
    .option('--pipeline <name>', 'only this pipeline; repeatable', collect)
    .option('--reason <code>', 'only this reason, such as UNDECODABLE; repeatable', collect)
    .option(
      '--since <time>',
      'failed since an age (90s, 30m, 2h, 7d) or a time such as 2026-01-31T12:00:00Z',
      time,
    )
    .option('--until <time>', 'failed before this time', time);
}

function withResolution(command: Command, kind: ResolutionKind): Command {
  return withFilter(command.argument('[ids...]', 'ids, as shown by `list`'))
    .option('--all', 'all open dead letters; required without ids or filters')
    .option('--again', 'include dead letters that are already redriven or discarded')
    .option('--dry-run', 'only print what would be done')
    .option('--note <text>', 'reason, stored with the resolution', '')
    .action(async (ids: string[], options: ResolveCommandOptions) => {
      const { since, until, reason, pipeline, all } = options;
      const given = [since, until, reason, pipeline, all].some((option) => option !== undefined);
      if (ids.length === 0 && !given) {
        throw new MillraceError(
          'NOTHING_SELECTED',
          'Select dead letters by ids, --pipeline, --reason, --since or --until, or pass --all for all open ones.',
        );
      }
      const { resolve } = await import('../ops/dead-letters/resolve.js');
      const config = loadConfig(process.env);
      await resolve(config, {
        ...options,
        kind,
        pipelines: await pipelinesOf(options, config),
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
    throw new InvalidArgumentError(`Must be one of ${values.join(', ')}.`);
  };
}
