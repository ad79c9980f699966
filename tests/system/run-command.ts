import { format } from 'node:util';
import type { Command } from 'commander';
import { vi } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { isolated } from './programs.js';

/** How a command ended. */
export interface Finished {
  exit: number | string;
  /** Its output, trimmed. */
  output: string;
}

/**
 * Runs a command of `millrace` in this process, as `cli/main.js` runs it in a process: a process takes half a
 * CPU second. One at a time, as it replaces the process's globals that commands use.
 *
 * @param command - a new one: commander keeps options from one run to the next.
 * @param settings - its environment variables, beside those of this process.
 */
export async function runCommand(
  command: Command,
  args: string[],
  settings: Record<string, string>,
): Promise<Finished> {
  let output = '';
  const print = (...values: unknown[]): void => void (output += `${format(...values)}\n`);
  const replaced = [
    vi.spyOn(console, 'log').mockImplementation(print),
    vi.spyOn(console, 'error').mockImplementation(print),
    vi.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Exit(Number(code));
    }),
  ];
  const [exitCode, environment] = [process.exitCode, process.env];
  process.env = { ...environment, ...isolated, ...settings };
  process.exitCode = 0;
  try {
    printErrors(command, (text) => void (output += text));
    await command.parseAsync(args, { from: 'user' });
    return { exit: process.exitCode, output: output.trim() };
  } catch (error) {
    if (error instanceof Exit) return { exit: error.code, output: output.trim() };
    if (error instanceof MillraceError) return { exit: 1, output: `${output}${error.message}`.trim() };
    throw error;
  } finally {
    process.exitCode = exitCode;
    process.env = environment;
    for (const each of replaced) each.mockRestore();
  }
}

class Exit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

function printErrors(command: Command, writeErr: (text: string) => void): void {
  command.configureOutput({ writeErr });
  for (const each of command.commands) printErrors(each, writeErr);
}
