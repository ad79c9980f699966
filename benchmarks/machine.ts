import { statfs } from 'node:fs/promises';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { figure } from './benchmark.js';

/** Properties of the machine that affect the figures, for a report. */
export interface Machine {
  cpu: string;
  cores: number;
  memory: string;
  system: string;
  node: string;
  /** Of the temporary folder, where the benchmarks keep their data. */
  disk: string;
}

export async function describeMachine(): Promise<Machine> {
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const disk = await statfs(tmpdir());
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory: gibibytes(totalmem()),
    system: `${type()} ${release()}`,
    node: process.version,
    disk: `${gibibytes(disk.bavail * disk.bsize)} free, fdatasync of 4 KiB ${syncMilliseconds().toFixed(2)} ms`,
  };
}

/** Median of the minimum cost of an acknowledged write. */
function syncMilliseconds(): number {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  const file = openSync(join(folder, 'sync'), 'w');
  const block = Buffer.alloc(4096);
  const samples = Array.from({ length: 100 }, (_, index) => {
    const started = performance.now();
    writeSync(file, block, 0, block.length, index * block.length);
    fdatasyncSync(file);
    return performance.now() - started;
  });
  closeSync(file);
  rmSync(folder, { recursive: true });
  return figure('', '', samples).median;
}
