import { InvalidArgumentError } from 'commander';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { isStorable } from '../analytics/rows.js';
import { pipelineNames } from '../processors/pipelines/load-pipelines.js';
import { parseTime } from '../schemas/times.js';

/**
 * Returns the pipelines given with `--pipeline`, or all pipelines of the project.
 *
 * @throws MillraceError `PIPELINE_UNKNOWN`, or `PROJECT_INVALID`.
 */
export async function pipelinesOf(
  { pipeline }: { pipeline?: string[] | undefined },
  { MILLRACE_PROJECT: project }: Pick<Config, 'MILLRACE_PROJECT'>,
): Promise<string[]> {
  const names = await pipelineNames(project);
  const unknown = pipeline?.find((name) => !names.includes(name));
  if (unknown === undefined) return pipeline ?? names;
  throw new MillraceError(
    'PIPELINE_UNKNOWN',
    `There is no pipeline '${unknown}'. There are: ${names.join(', ')}.`,
  );
}

/** Parser of a repeatable option. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

export function wholeNumber(value: string): number {
  if (/^[1-9]\d{0,8}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('Must be a whole number, 1 or greater.');
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses a time, a day (UTC) or an age. Returns milliseconds since 1970. */
export function time(value: string, _before?: number, now = Date.now()): number {
  const [, amount, unit] = /^(\d{1,9})([smhd])$/.exec(value) ?? [];
  if (amount !== undefined) return now - Number(amount) * unitMs[unit as keyof typeof unitMs];
  // A time of day without a zone is rejected: users would expect local time.
  const at = /^[\d-]+$|(?:z|[+-]\d\d:\d\d)$/i.test(value) ? parseTime(value) : undefined;
  if (at !== undefined && isStorable(at)) return at;
  throw new InvalidArgumentError(
    'Must be an age such as 90s, 30m, 2h or 7d, a day, or a time such as 2026-01-31T12:00:00Z.',
  );
}
