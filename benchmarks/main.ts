import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import type { Benchmark, Figure } from './benchmark.js';
import { describeMachine } from './machine.js';
import { printMachine, printResult } from './report.js';

/** Result of a benchmark, as written to the JSON file. */
export interface Result {
  name: string;
  question: string;
  figures: Figure[];
}

const names = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

const program = new Command('bench')
  .description('Measures Millrace against a baseline in the same run.')
  .argument('[names...]', `which to run, by the start of their names: ${names.join(', ')}; default all`)
  .option('--scale <share>', 'share of the full size, for a quick look', Number, 1)
  .option('--json <file>', 'also write machine and figures to a file')
  .action(async (wanted: string[], { scale, json }: { scale: number; json?: string }) => {
    const unknown = wanted.find((start) => !names.some((name) => name.startsWith(start)));
    if (unknown !== undefined)
      program.error(`There is no benchmark '${unknown}'. There are: ${names.join(', ')}.`);
    const machine = await describeMachine();
    printMachine(machine);
    const results: Result[] = [];
    for (const name of names.filter(
      (each) => wanted.length === 0 || wanted.some((start) => each.startsWith(start)),
    )) {
      results.push(await runApart(name, scale));
    }
    if (json !== undefined) {
      const report = { measured_at: new Date().toISOString(), machine, scale, results };
      writeFileSync(json, `${JSON.stringify(report, undefined, 2)}\n`);
    }
  });

/** Each in a separate process, so that none shares the heap, the compiled code or the engine of another. */
async function runApart(name: string, scale: number): Promise<Result> {
  const { benchmark } = (await import(`./${name}/benchmark.js`)) as { benchmark: Benchmark };
  const child = fork(new URL('./run-one.js', import.meta.url), [name, String(scale)]);
  let figures: Figure[] | undefined;
  child.on('message', (message: Figure[]) => (figures = message));
  const [code] = (await once(child, 'exit')) as [number];
  if (figures === undefined) throw new Error(`The benchmark ${name} ended with exit code ${code}.`);
  const result = { name, question: benchmark.question, figures };
  printResult(result, benchmark);
  return result;
}

await program.parseAsync();
