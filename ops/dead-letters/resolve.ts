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

/** Redrives or discards, and says what was done. The first Ctrl-C lets what is under way end. */
export async function resolve(config: Config, options: ResolveCommandOptions): Promise<void> {
  const { pipelines, filter, kind, again = false, dryRun = false, rate, note } = options;
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const known = new Set<string>();
  let isAny = false;
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
        const isOfInterest = summary.total + summary.resolvedBefore + summary.impossible.size > 0;
        if (isOfInterest) console.log(toText(pipeline, kind, dryRun, summary));
        isAny ||= isOfInterest;
      } catch (error) {
        bar.stop();
        throw explain(error, pipeline, kind, done);
      }
    }
  });
  const unknown = [...(filter.ids ?? [])].filter((id) => !known.has(id));
  // Whoever stops early has not looked at all of them.
  if (stopping.signal.aborted) return;
  if (!isAny && unknown.length === 0) console.log('No dead letter is meant by this.');
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
  const ofWhich = counts === '' ? '' : ` (${printable(counts)})`;
  return [
    dryRun ? `${pipeline}: ${total} would be ${kind}${ofWhich}.` : `${pipeline}: ${done} ${kind}${ofWhich}.`,
    ...(dryRun || done === total ? [] : [`  Stopped: ${total - done} are left. Run it again to go on.`]),
    ...(resolvedBefore === 0
      ? []
      : [`  ${resolvedBefore} left alone: resolved before (--again takes them too).`]),
    ...[...impossible].map(([why, count]) => `  ${count} can’t be redriven: ${printable(why)}.`),
  ].join('\n');
}

function explain(error: unknown, pipeline: string, kind: ResolutionKind, done: number): unknown {
  if (!(error instanceof MillraceError)) return error;
  const rest =
    error.code === 'LOG_FENCED'
      ? 'Another redrive or discard has taken over, and does the rest of what it was asked for.'
      : 'Run it again: it goes on where this one ended, and doubles nothing.';
  return new MillraceError(
    error.code,
    `${pipeline}: ended after ${done} ${kind}. ${rest} (${error.message})`,
    {
      cause: error,
      retriable: error.retriable,
    },
  );
}
