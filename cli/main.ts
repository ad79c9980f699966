import { Command } from 'commander';
import { describeSettings, loadConfig, settingsPage } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { version } from '../platform/version.js';
import type { Context, Role } from './context.js';
import { modelsCommand } from './models/command.js';
import { deadLettersCommand } from './dead-letters/command.js';

// Before the first file is read: Node's four threads for files would be shared by the log's fsync and ClickHouse's queries.
process.env['UV_THREADPOOL_SIZE'] ??= '16';

const program = new Command('millrace')
  .description('Scores events with machine-learning models while they stream.')
  .version(version);

program
  .command('up', { isDefault: true })
  .description('run the whole system here, on embedded engines where no setting names others')
  .option('--no-demo', 'feed no sample events')
  .action(async ({ demo }: { demo: boolean }) => {
    const { up } = await import('./up.js');
    const onProgress = (step: string): void => console.error(`Starting ${step} …`);
    const system = await up(loadConfig(process.env), { demo, onProgress });
    console.log(system.screen);
    await untilStopped(system);
  });

program
  .command('serve')
  .description('run the HTTP API alone')
  .action(async () => {
    const { startServe } = await import('./roles/serve.js');
    await runAlone(startServe, 'serve', true);
  });

program
  .command('process')
  .description('run the stream scorers alone')
  .action(async () => {
    const { startProcessors } = await import('./roles/process.js');
    await runAlone(startProcessors, 'process', false);
  });

program
  .command('sink')
  .description('run the ClickHouse sink alone')
  .action(async () => {
    const { startSink } = await import('./roles/sink.js');
    await runAlone(startSink, 'sink', false);
  });

program
  .command('bridge')
  .description('run the RabbitMQ bridge alone')
  .action(async () => {
    const { startBridge } = await import('./roles/bridge.js');
    await runAlone(startBridge, 'bridge', false);
  });

program.addCommand(modelsCommand());

program
  .command('score')
  .description('score a file (xlsx, csv or jsonl) with a running Millrace')
  .argument('<file>', 'rows to score')
  .option('--pipeline <name>', 'which pipeline; not needed when there is one')
  .option('--out <file>', 'where the result goes (default: <name>-scored.<format> here)')
  .action(async (file: string, options: { pipeline?: string; out?: string }) => {
    const { createApiClient } = await import('./api-client.js');
    const { score } = await import('./score.js');
    await score(await createApiClient(loadConfig(process.env)), file, options);
  });

program
  .command('schedule')
  .description('run the schedules alone')
  .action(async () => {
    const { startSchedules } = await import('./roles/schedule.js');
    await runAlone(startSchedules, 'schedule', false);
  });

program.addCommand(deadLettersCommand());

program
  .command('sql')
  .description('ask ClickHouse')
  .argument('<query>', 'such as "SELECT * FROM millrace.predictions LIMIT 5"')
  .action(async (query: string) => {
    const { runSql } = await import('./sql.js');
    await runSql(loadConfig(process.env), query);
  });

program
  .command('settings')
  .description('list every setting with its default')
  .option('--markdown', 'as the page docs/settings.md')
  .action(({ markdown }: { markdown?: boolean }) => {
    const settings = describeSettings();
    if (markdown) console.log(settingsPage(settings));
    else
      for (const { name, meaning, fallback } of settings)
        console.log(`${name.padEnd(24)}${meaning} ${fallback}`.trim());
  });

async function runAlone(
  start: (context: Context) => Promise<Role>,
  name: string,
  servesHttp: boolean,
): Promise<void> {
  // The first process of a container ignores every signal that it has no handler for: it could only be killed while it starts.
  process.once('SIGINT', abandonStart).once('SIGTERM', abandonStart);
  const { standAlone } = await import('./stand-alone.js');
  const role = await standAlone(loadConfig(process.env), start, { role: name, servesHttp });
  process.off('SIGINT', abandonStart).off('SIGTERM', abandonStart);
  await untilStopped(role);
}

/** Nothing is under way that a killed process would not leave behind as well. */
function abandonStart(): void {
  process.exit(143);
}

/** Orchestrators kill what has not ended some time after they asked; 10 s is the shortest of the usual times. */
const stopWithinMs = 9_000;

/** Stops cleanly on the first SIGINT or SIGTERM, at once on another that comes a second later or more (npm sends each twice). */
async function untilStopped(role: Role): Promise<void> {
  let firstAt = Number.POSITIVE_INFINITY;
  await new Promise<void>((resolve) => {
    const onSignal = (): void => {
      if (performance.now() - firstAt > 1000) process.exit(130);
      firstAt = Math.min(firstAt, performance.now());
      resolve();
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
  console.error('Stopping …');
  setTimeout(() => {
    console.error(
      `Not stopped after ${stopWithinMs / 1000} s: something that is needed does not answer. Ending as it is; what was under way is taken up at the next start.`,
    );
    process.exit(1);
  }, stopWithinMs).unref();
  await role.stop();
  console.error('Stopped.');
  // All is done and on disk; a connection that a library has lost track of in an outage would keep the process.
  process.exit(0);
}

try {
  await program.parseAsync();
} catch (error) {
  // An error of our own says what to do; any other is a defect, and its trace helps.
  console.error(error instanceof MillraceError ? error.message : error);
  // What a failed start leaves open must not keep the process.
  process.exit(1);
}
