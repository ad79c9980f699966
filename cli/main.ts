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
import { generateCommand } from './generate.js';
import { overviewCommands } from './overview.js';
import { modelsCommand } from './models/command.js';
import { initCommand } from './init.js';
import { newCommand } from './new.js';
import { keysCommand } from './keys.js';
import { deadLettersCommand } from './dead-letters.js';

// Set before the first file read. Node's default of 4 threads would be shared by the log's fsync and
// ClickHouse's queries.
process.env['UV_THREADPOOL_SIZE'] ??= '16';

const program = new Command('millrace')
  .description('Scores events with machine-learning models while they stream.')
  .version(version)
  // Else its --version would be taken from `models add --version`.
  .enablePositionalOptions();

program
  .command('up', { isDefault: true })
  .description('run the whole system in this process; engines without a setting are embedded')
  .option('--no-demo', 'do not send sample events')
  .option('--dev', 'take changed models, contracts and pipelines of the project into use while it runs')
  .allowExcessArguments()
  .action(async ({ demo, dev }: { demo: boolean; dev?: boolean }, { args }: Command) => {
    if (args[0] !== undefined) throw unknownCommand(args[0]);
    const { up: start } = await import('../app/up.js');
    const onProgress = (step: string): void => console.error(`Starting ${step} …`);
    const config = loadConfig(process.env);
    const startAll = async (signal: AbortSignal): Promise<Role> => {
      const system = await start(config, { demo, dev: dev === true, onProgress, signal });
      console.log(system.banner);
      return system;
    };
    await runUntilStopped(startAll, { stopTimeoutMs: config.STOP_TIMEOUT_MS });
  });

program
  .command('serve')
  .description('run only the HTTP API')
  .action(async () => {
    const { startServe } = await import('../app/serve.js');
    await runOnly('serve', startServe, { servesHttp: true });
  });

program
  .command('process')
  .description('run only the stream scorers')
  .action(async () => {
    const { startProcessors } = await import('../app/process.js');
    await runOnly('process', startProcessors);
  });

program
  .command('sink')
  .description('run only the ClickHouse sink')
  .action(async () => {
    const { startSink } = await import('../app/sink.js');
    await runOnly('sink', startSink);
  });

program
  .command('bridge')
  .description('run only the RabbitMQ bridge')
  .action(async () => {
    const { startBridge } = await import('../app/bridge.js');
    await runOnly('bridge', (context) => startBridge(context), { needs: ['RABBITMQ_URL'] });
  });

program.addCommand(newCommand());

for (const command of overviewCommands()) program.addCommand(command);

program.addCommand(initCommand());

program.addCommand(modelsCommand());

program
  .command('score')
  .description('score a file (xlsx, csv or jsonl) with a running Millrace')
  .argument('<file>', 'rows to score')
  .option('--pipeline <name>', 'pipeline; optional if there is only one')
  .option('--out <file>', 'result file (default: <name>-scored.<format> in the current folder)')
  .action(async (file: string, options: { pipeline?: string; out?: string }) => {
    const { createApiClient } = await import('./api-client.js');
    const { score } = await import('./score.js');
    await score(await createApiClient(loadConfig(process.env)), file, options);
  });

program
  .command('schedule')
  .description('run only the schedules')
  .action(async () => {
    const { startSchedules } = await import('../app/schedule.js');
    await runOnly('schedule', (context) => startSchedules(context));
  });

program.addCommand(deadLettersCommand());

program.addCommand(keysCommand());

program.addCommand(auditCommand());

program.addCommand(doctorCommand());

program
  .command('sql')
  .description('run a query on ClickHouse')
  .argument('<query>', 'such as "SELECT * FROM millrace.predictions LIMIT 5"')
  .action(async (query: string) => {
    const { runSql } = await import('./sql.js');
    await runSql(loadConfig(process.env), query);
  });

program.addCommand(generateCommand());

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

/** Commander passes an unknown command to the default command as an argument. */
function unknownCommand(name: string): MillraceError {
  const known = program.commands.map((command) => command.name());
  return new MillraceError(
    'COMMAND_UNKNOWN',
    `Unknown command '${name}'. Commands: ${known.join(', ')}. Run \`millrace help\` for a description of each.`,
  );
}

async function runOnly(
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

// Node would print the error unredacted, with secrets that libraries put into their errors.
process.on('uncaughtException', (error) => {
  printError(error);
  process.exit(1);
});

try {
  await program.parseAsync();
} catch (error) {
  printError(error);
  // Connections left open by a failed start must not keep the process alive.
  process.exit(1);
}
