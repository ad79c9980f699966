import { spawnSync } from 'node:child_process';
import { packageRoot } from '../../platform/paths.js';

/** How a program ended, and all of its output. */
export interface Outcome {
  status: number | null;
  output: string;
}

/** Runs a program in the project's folder, with only the PATH of this shell's environment. */
export function runTool(command: string, args: string[], input?: string): Outcome {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: packageRoot,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
    input,
    maxBuffer: 64 * 1024 * 1024,
  });
  return { status, output: `${stdout}${stderr}${error?.message ?? ''}` };
}
