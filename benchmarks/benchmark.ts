/** One measured figure: the median of several runs and their spread. */
export interface Figure {
  what: string;
  unit: string;
  median: number;
  low: number;
  high: number;
  /** Its target; none for a figure that only explains. */
  aim?: Aim;
}

export type Aim = { atLeast: number } | { atMost: number };

/** A question about speed or memory, and the method of its answer. */
export interface Benchmark {
  question: string;
  /** How it is measured. */
  method: string;
  /** Differences between the sides, or from production. */
  caveats: string[];
  /**
   * @param scale - share of the full size to run, for a quick look; the targets apply to 1.
   * @param progress - called with the current step.
   */
  run(scale: number, progress: (step: string) => void): Promise<Figure[]>;
}

export function figure(what: string, unit: string, samples: readonly number[], aim?: Aim): Figure {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return {
    what,
    unit,
    median: sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2,
    low: sorted[0] ?? Number.NaN,
    high: sorted.at(-1) ?? Number.NaN,
    ...(aim === undefined ? {} : { aim }),
  };
}

/**
 * Runs the variants in turn, round after round, so that other load on the machine affects all of them
 * equally; the order is reversed each round. The first round warms up and is not counted.
 *
 * @returns each variant's samples, by name; samples of one index belong to one round.
 */
export async function inTurn<Name extends string>(
  rounds: number,
  variants: Record<Name, () => Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(variants) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  for (let round = 0; round <= rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const sample = await variants[name]();
      if (round > 0) samples[name].push(sample);
    }
  }
  return samples;
}

/** Returns the ratios of samples of the same round. */
export function ratios(measured: readonly number[], baseline: readonly number[]): number[] {
  return measured.map((value, round) => value / (baseline[round] ?? Number.NaN));
}
