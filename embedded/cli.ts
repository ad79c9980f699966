import { parseArgs } from 'node:util';
import { messageOf } from '../platform/errors.js';
import { startKafka } from './index.js';

const usage = `Usage: npx @millrace/embedded [options]

Starts a Kafka broker and a schema registry in one process, until Ctrl-C.

  --port <number>           port of the Kafka API, 0 for a free one (default 9092)
  --registry-port <number>  port of the schema registry, 0 for a free one (default 8081)
  --host <address>          address to listen on (default 127.0.0.1)
  --data-dir <folder>       where to keep the data (default: a temporary folder, removed at the end)
  --help                    this text
`;

try {
  await run();
} catch (error) {
  process.stderr.write(`${messageOf(error)}.\n`);
  process.exit(1);
}

async function run(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '9092' },
      'registry-port': { type: 'string', default: '8081' },
      host: { type: 'string', default: '127.0.0.1' },
      'data-dir': { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const dataDir = values['data-dir'];
  const stopped = nextSignal();
  const kafka = await startKafka({
    host: values.host,
    port: portOf(values.port, '--port'),
    portSetting: '--port',
    registryPort: portOf(values['registry-port'], '--registry-port'),
    registryPortSetting: '--registry-port',
    ...(dataDir === undefined ? {} : { dataDir }),
    logLevel: 'warn',
  });
  process.stdout.write(
    `Kafka            ${kafka.brokers.join(',')}\n` +
      `Schema registry  ${kafka.registryUrl}\n` +
      `Data             ${dataDir ?? 'a temporary folder, removed at the end'}\n` +
      'Ctrl-C stops it.\n',
  );
  await stopped;
  await kafka.stop();
}

/** Waits for the first signal to stop; a second one ends the process at once, as without a handler. */
function nextSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}

function portOf(text: string, option: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new Error(`${option} is ${text}: it is a number from 0 to 65535`);
}
