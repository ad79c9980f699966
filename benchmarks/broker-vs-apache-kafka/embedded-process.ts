// The embedded broker in a separate process, like the other broker: reports the duration of its start, and on
// each message the peak of its added memory.
import { readFileSync } from 'node:fs';
import { startKafka } from '../../embedded/kafka/start.js';

const [dataDir = ''] = process.argv.slice(2);
const before = peakBytes();
const started = performance.now();
const { port } = await startKafka({ dataDir, port: 0 });
process.send?.({ port, startMs: performance.now() - started });
process.on('message', () => process.send?.({ addedBytes: peakBytes() - before }));

/** Returns the peak resident memory of this process, if the system reports it; else the current one. */
function peakBytes(): number {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return Number(kibibytes) * 1024;
  } catch {
    return process.memoryUsage.rss();
  }
}
