// The embedded broker in a process of its own, as the other broker is: tells how long it took to start, and on each
// message how much memory it has added at most.
import { readFileSync } from 'node:fs';
import { startKafka } from '../../embedded/kafka/start.js';

const [dataDir = ''] = process.argv.slice(2);
const before = peakBytes();
const started = performance.now();
const { port } = await startKafka({ dataDir, port: 0 });
process.send?.({ port, startMs: performance.now() - started });
process.on('message', () => process.send?.({ addedBytes: peakBytes() - before }));

/** The most memory this process ever had resident, where the system tells; else what it has now. */
function peakBytes(): number {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return Number(kibibytes) * 1024;
  } catch {
    return process.memoryUsage.rss();
  }
}
