// A temporary RabbitMQ on this machine: starts the server of Debian's package `rabbitmq-server` on loopback
// with its own folder, and removes everything at the end. No system service is touched. Its ports are the
// usual ones, 5672 and 15672 (management), or free ones if these are in use.
//
//   node scripts/rabbitmq.mjs                  prints RABBITMQ_URL=… once it is ready, stops on Ctrl-C
//   node scripts/rabbitmq.mjs -- npm start     runs the command with RABBITMQ_URL set, exits with its code
//
// RABBITMQ_MANAGEMENT_URL, which is also set, is the base address of the management API and its pages.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

// The server is handled by the same code as in the tests, which has to be compiled.
const setup = spawnSync(process.execPath, [fileURLToPath(new URL('setup.mjs', import.meta.url))], {
  stdio: 'inherit',
});
if (setup.status !== 0) process.exit(1);
const { RabbitMq, rabbitMqInstalled } = await import('../dist/tests/system/engines/rabbitmq-server.js');

if (!rabbitMqInstalled) {
  console.error('RabbitMQ is not installed. Get it with `apt-get install rabbitmq-server`.');
  process.exit(1);
}

let stopped = false;
let rabbitMq;
let child;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Ends the command before RabbitMQ. In a separate process group, it gets signals only from here.
    if (child === undefined) void stop(0);
    else signalAll(signal);
  });
}

const separator = process.argv.indexOf('--');
const [command, ...args] = separator === -1 ? [] : process.argv.slice(separator + 1);
const started = performance.now();
try {
  const isUsualFree = (await isFree(5672)) && (await isFree(15672));
  rabbitMq = await RabbitMq.start(isUsualFree ? { amqp: 5672, management: 15672 } : {});
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const addresses = { RABBITMQ_URL: rabbitMq.url, RABBITMQ_MANAGEMENT_URL: rabbitMq.managementUrl };
if (stopped) {
  await rabbitMq.stop();
  process.exit(0);
} else if (command === undefined) {
  console.error(`RabbitMQ was ready after ${((performance.now() - started) / 1000).toFixed(1)} s.`);
  for (const [name, value] of Object.entries(addresses)) console.log(`${name}=${value}`);
} else {
  // In a separate group it gets Ctrl-C once. On a terminal it stays in this group, to be able to read from
  // it.
  child = spawn(command, args, {
    stdio: 'inherit',
    detached: !process.stdin.isTTY,
    env: { ...process.env, ...addresses },
  });
  child.on('error', (error) => {
    console.error(`Cannot run ${command}: ${error.message}`);
    void stop(127);
  });
  child.on('exit', (code) => void stop(code ?? 1));
}

/** npm forwards SIGTERM, not SIGINT: all of its processes get it. */
function signalAll(signal) {
  try {
    // At a terminal, Ctrl-C reaches the whole group anyway.
    if (!process.stdin.isTTY) process.kill(-child.pid, signal);
    else if (signal !== 'SIGINT') child.kill(signal);
  } catch {
    // It has already ended.
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

async function stop(code) {
  if (stopped) return;
  stopped = true;
  if (rabbitMq === undefined) return;
  await rabbitMq.stop();
  process.exit(code);
}
