import { messageOf } from '../../platform/errors.js';
import { withoutSecrets } from '../../platform/secrets.js';

export type Severity = 'ok' | 'warning' | 'error';

export type Area =
  | 'settings'
  | 'log'
  | 'topics'
  | 'groups'
  | 'permissions'
  | 'registry'
  | 'clickhouse'
  | 'redis'
  | 'rabbitmq'
  | 'models'
  | 'disk'
  | 'clocks'
  | 'system';

/** One thing that was looked at. */
export interface Finding {
  /** `error`: something does not work, or will lose or stop something; `warning`: it works, and should be looked at. */
  severity: Severity;
  area: Area;
  what: string;
  /** A command to run, or a setting to change; null where all is well. */
  fix: string | null;
}

/** What was found of one area. */
export interface Notes {
  ok(what: string): void;
  warn(what: string, fix: string): void;
  error(what: string, fix: string): void;
}

/** Clocks that differ by more than this make times in reports doubtful, by ten times as much tokens and certificates fail. */
const skewMs = 1_000;

/** Everything found, in the order of its areas. */
export class Diagnosis {
  readonly findings: Finding[] = [];

  notes(area: Area): Notes {
    const add = (severity: Severity, what: string, fix: string | null): void => {
      this.findings.push({
        severity,
        area,
        what: withoutSecrets(what),
        fix: fix === null ? null : withoutSecrets(fix),
      });
    };
    return {
      ok: (what) => add('ok', what, null),
      warn: (what, fix) => add('warning', what, fix),
      error: (what, fix) => add('error', what, fix),
    };
  }

  /** Notes how far a clock is from this machine's. @param resolutionMs - what the other clock's answer is exact to. */
  noteClock(name: string, theirs: number, { askedAt, answeredAt }: Asked, resolutionMs = 1): void {
    // An answer with whole seconds is half of one late on average; the way there and back takes as much again.
    const doubt = (answeredAt - askedAt) / 2 + resolutionMs / 2;
    const ahead = Math.round(theirs + (resolutionMs > 1 ? resolutionMs / 2 : 0) - (askedAt + answeredAt) / 2);
    this.noteSkew(`${name}’s clock`, 'this machine’s', ahead, doubt);
  }

  noteSkew(one: string, other: string, aheadMs: number, doubtMs: number): void {
    const notes = this.notes('clocks');
    const by = `${one} is ${Math.abs(aheadMs)} ms ${aheadMs < 0 ? 'behind' : 'ahead of'} ${other} (± ${Math.ceil(doubtMs)} ms)`;
    if (Math.abs(aheadMs) - doubtMs <= skewMs) notes.ok(by);
    else
      notes.warn(
        by,
        'Run an NTP client on both machines: `timedatectl set-ntp true`, then `timedatectl timesync-status`.',
      );
  }
}

/** When a question was asked and answered, milliseconds since 1970. */
export interface Asked {
  askedAt: number;
  answeredAt: number;
}

/**
 * Does one check and notes that it failed: it never throws, and never takes longer than it may.
 *
 * @param fix - what mends it when it can't be done.
 */
export async function attempt(
  notes: Notes,
  { what, fix, timeoutMs = 5_000 }: { what: string; fix: string; timeoutMs?: number },
  check: () => Promise<void> | void,
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    await Promise.race([Promise.resolve().then(check), late]);
    return true;
  } catch (error) {
    notes.error(`${what}: ${messageOf(error)}`, fix);
    return false;
  } finally {
    clearTimeout(timer);
  }
}
