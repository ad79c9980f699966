import { Command } from 'commander';
import { loadConfig } from '../platform/config.js';
import { describeSettings, settingsPage } from '../platform/settings.js';
import { MillraceError } from '../platform/errors.js';
import { version } from '../platform/version.js';
import type { Role } from '../app/context.js';
import type { RunRoleOptions, StartRole } from '../app/run-role.js';
import { toTable } from '../ops/table.js';
import { printError } from './print-error.js';
import { runUntilStopped } from '../app/until-stopped.js';
import { auditCommand } from './audit.js';
import { doctorCommand } from './doctor.js';
import { overviewCommands } from './overview.js';
import { modelsCommand } from './models/command.js';
import { keysCommand } from './keys.js';
import { deadLettersCommand } from './dead-letters.js';

// Before the first file is read: Node's four threads for files would be shared by the log's fsync and ClickHouse's queries.
process.env['UV_THREADPOOL_SIZE'] ??= '16';

const program = new Command('millrace')
  .description('Scores events with machine-learning models while they stream.')
  .version(version);

program
  .command('up', { isDefault: true })
  .description('run the whole system here, on embedded engines where no setting names others')
  .option('--no-demo', 'feed no sample events')
  .allowExcessArguments()
  .action(async ({ demo }: { demo: boolean }, { args }: Command) => {
    if (args[0] !== undefined) throw unknownCommand(args[0]);
    const { up: start } = await import('../app/up.js');
    const onProgress = (step: string): void => console.error(`Starting ${step} …`);
    const config = loadConfig(process.env);
    const startAll = async (signal: AbortSignal): Promise<Role> => {
      const system = await start(config, { demo, onProgress, signal });
      console.log(system.banner);
      return system;
    };
    await runUntilStopped(startAll, { stopTimeoutMs: config.STOP_TIMEOUT_MS });
  });

program
  .command('serve')
  .description('run the HTTP API alone')
  .action(async () => {
    const { startServe } = await import('../app/serve.js');
    await runAlone('serve', startServe, { servesHttp: true });
  });

program
  .command('process')
  .description('run the stream scorers alone')
  .action(async () => {
    const { startProcessors } = await import('../app/process.js');
    await runAlone('process', startProcessors);
  });

program
  .command('sink')
  .description('run the ClickHouse sink alone')
  .action(async () => {
    const { startSink } = await import('../app/sink.js');
    await runAlone('sink', startSink);
  });

program
  .command('bridge')
  .description('run the RabbitMQ bridge alone')
  .action(async () => {
    const { startBridge } = await import('../app/bridge.js');
    await runAlone('bridge', (context) => startBridge(context), { needs: ['RABBITMQ_URL'] });
  });

for (const command of overviewCommands()) program.addCommand(command);

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
    const { startSchedules } = await import('../app/schedule.js');
    await runAlone('schedule', (context) => startSchedules(context));
  });

program.addCommand(deadLettersCommand());

program.addCommand(keysCommand());

program.addCommand(auditCommand());

program.addCommand(doctorCommand());

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
  .option('--markdown', 'print the page docs/settings.md')
  .action(({ markdown }: { markdown?: boolean }) => {
    const settings = describeSettings();
    const rows = settings.map(({ name, meaning, default: value }) => [
      name,
      value === undefined ? meaning : `${meaning} Default: ${value}.`,
    ]);
    console.log(markdown ? settingsPage(settings) : toTable(rows));
  });

/** What is no command comes to the one that is run by default. */
function unknownCommand(name: string): MillraceError {
  const known = program.commands.map((command) => command.name());
  return new MillraceError(
    'COMMAND_UNKNOWN',
    `There is no command '${name}' here. There are: ${known.join(', ')}. \`millrace help\` says what each does.`,
  );
}

async function runAlone(
  role: string,
  start: StartRole,
  options: Omit<RunRoleOptions, 'role' | 'signal'> = {},
): Promise<void> {
  const { runRole } = await import('../app/run-role.js');
  const config = loadConfig(process.env);
  await runUntilStopped((signal) => runRole(config, start, { role, signal, ...options }), {
    stopTimeoutMs: config.STOP_TIMEOUT_MS,
  });
}

// Node would print it as it is, with what libraries put into their errors.
process.on('uncaughtException', (error) => {
  printError(error);
  process.exit(1);
});

try {
  await program.parseAsync();
} catch (error) {
  printError(error);
  // What a failed start leaves open must not keep the process.
  process.exit(1);
}
