import { Presets, SingleBar } from 'cli-progress';
import type { Config } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import type { ResolutionKind } from '../../processors/dead-letters/resolutions.js';
import { resolveDeadLetters, type ResolveSummary } from '../../processors/dead-letters/resolve.js';
import { withLog } from '../find-engines.js';
import type { Selection } from './list.js';
import { printable } from './printable.js';

export interface ResolveCommandOptions extends Selection {
  kind: ResolutionKind;
  again?: boolean;
  dryRun?: boolean;
  rate?: number;
  note: string;
}

/** Redrives or discards dead letters and prints a summary. The first Ctrl-C stops after the current batch. */
export async function resolve(config: Config, options: ResolveCommandOptions): Promise<void> {
  const { pipelines, filter, kind, again = false, dryRun = false, rate, note } = options;
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const known = new Set<string>();
  let anyMatch = false;
  await withLog(config, async (streams) => {
    for (const pipeline of pipelines) {
      if (stopping.signal.aborted) break;
      const bar = new SingleBar(
        { format: ` ${pipeline} {bar} {value}/{total} | {duration_formatted}` },
        Presets.shades_classic,
      );
      let done = 0;
      const onProgress = (now: number, total: number): void => {
        done = now;
        if (now === 0) bar.start(total, 0);
        else bar.update(now);
      };
      try {
        const summary = await resolveDeadLetters(streams, {
          pipeline,
          filter,
          kind,
          again,
          dryRun,
          rate,
          note,
          signal: stopping.signal,
          onProgress,
        });
        bar.stop();
        for (const id of summary.found) known.add(id);
        const hasMatch = summary.total + summary.resolvedBefore + summary.impossible.size > 0;
        if (hasMatch) console.log(toText(pipeline, kind, dryRun, summary));
        anyMatch ||= hasMatch;
      } catch (error) {
        bar.stop();
        throw explain(error, pipeline, kind, done);
      }
    }
  });
  const unknown = [...(filter.ids ?? [])].filter((id) => !known.has(id));
  // When stopped early, not all dead letters were read.
  if (stopping.signal.aborted) return;
  if (!anyMatch && unknown.length === 0) console.log('No dead letter matches.');
  if (unknown.length > 0) {
    throw new MillraceError(
      'DEAD_LETTER_UNKNOWN',
      `There is no such dead letter: ${printable(unknown.join(', '))}.`,
    );
  }
}

function toText(pipeline: string, kind: ResolutionKind, dryRun: boolean, summary: ResolveSummary): string {
  const { done, total, reasons, resolvedBefore, impossible } = summary;
  const counts = [...reasons].map(([reason, count]) => `${reason} ${count}`).join(', ');
  const byReason = counts === '' ? '' : ` (${printable(counts)})`;
  return [
    dryRun
      ? `${pipeline}: ${total} would be ${kind}${byReason}.`
      : `${pipeline}: ${done} ${kind}${byReason}.`,
    ...(dryRun || done === total
      ? []
      : [`  Stopped: ${total - done} are left. Run the command again to continue.`]),
    ...(resolvedBefore === 0
      ? []
      : [`  ${resolvedBefore} skipped: already resolved (--again includes them).`]),
    ...[...impossible].map(([why, count]) => `  ${count} cannot be redriven: ${printable(why)}.`),
  ].join('\n');
}

function explain(error: unknown, pipeline: string, kind: ResolutionKind, done: number): unknown {
  if (!(error instanceof MillraceError)) return error;
  const rest =
    error.code === 'LOG_FENCED'
      ? 'Another redrive or discard has taken over.'
      : 'Run the command again: it continues where this run ended, without duplicates.';
  return new MillraceError(
    error.code,
    `${pipeline}: stopped after ${done} ${kind}. ${rest} (${error.message})`,
    {
      cause: error,
      retriable: error.retriable,
    },
  );
}
