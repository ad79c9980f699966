// Apache Kafka on this machine, without containers: fetches the server from Maven Central, starts one combined
// broker and controller (KRaft) on free loopback ports, and takes everything but the download away at the end.
//
//   node scripts/apache-kafka.mjs                  prints KAFKA_BROKERS=… once it is ready, stops on Ctrl-C
//   node scripts/apache-kafka.mjs -- npm test      runs the command with KAFKA_BROKERS set, exits with its code
//
// Needs Java 17 and Maven. Settings: KAFKA_VERSION, APACHE_KAFKA_CACHE (folder of the downloads).
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchJars, version } from './apache-kafka-jars.mjs';

const startTimeoutMs = 90_000;

const separator = process.argv.indexOf('--');
const command = separator === -1 ? [] : process.argv.slice(separator + 1);

let stopping = false;
const libraries = fetchJars();
const dataFolder = mkdtempSync(join(tmpdir(), 'millrace-apache-kafka-'));
process.on('exit', () => rmSync(dataFolder, { recursive: true, force: true }));

const [brokerPort, controllerPort] = await freePorts(2);
const server = startServer();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void stop(0));

if (!(await answers(brokerPort, Date.now() + startTimeoutMs))) {
  if (!stopping) console.error(`Apache Kafka ${version} did not start. Its log ends with:\n${logTail()}`);
  await stop(1);
}
const brokers = `127.0.0.1:${brokerPort}`;
if (command.length === 0) {
  console.log(`KAFKA_BROKERS=${brokers}`);
} else {
  const child = spawn(command[0], command.slice(1), {
    stdio: 'inherit',
    env: { ...process.env, KAFKA_BROKERS: brokers },
  });
  child.on('error', (error) => {
    console.error(`Cannot run ${command[0]}: ${error.message}`);
    void stop(127);
  });
  child.on('exit', (code) => void stop(code ?? 1));
}

function startServer() {
  const settings = join(dataFolder, 'server.properties');
  writeFileSync(
    settings,
    Object.entries({
      'process.roles': 'broker,controller',
      'node.id': 1,
      'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
      listeners: `PLAINTEXT://127.0.0.1:${brokerPort},CONTROLLER://127.0.0.1:${controllerPort}`,
      'advertised.listeners': `PLAINTEXT://127.0.0.1:${brokerPort}`,
      'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      'controller.listener.names': 'CONTROLLER',
      'log.dirs': join(dataFolder, 'log'),
      'num.partitions': 1,
      'auto.create.topics.enable': true,
      'group.initial.rebalance.delay.ms': 0,
      'default.replication.factor': 1,
      'min.insync.replicas': 1,
      'offsets.topic.replication.factor': 1,
      'offsets.topic.num.partitions': 4,
      'transaction.state.log.replication.factor': 1,
      'transaction.state.log.min.isr': 1,
      'transaction.state.log.num.partitions': 4,
      'share.coordinator.state.topic.replication.factor': 1,
      'share.coordinator.state.topic.min.isr': 1,
    })
      .map(([key, value]) => `${key}=${value}\n`)
      .join(''),
  );
  const classPath = join(libraries, '*');
  const format = spawnSync(
    'java',
    [
      '-cp',
      classPath,
      'kafka.tools.StorageTool',
      'format',
      '-t',
      randomBytes(16).toString('base64url'),
      '-c',
      settings,
    ],
    { encoding: 'utf8' },
  );
  if (format.status !== 0) {
    console.error(`Formatting the storage failed: ${format.error?.message ?? format.stderr + format.stdout}`);
    process.exit(1);
  }
  const log = openSync(join(dataFolder, 'server.log'), 'w');
  // Its own process group, so that Ctrl-C reaches it through stop() only, after the command has ended.
  const java = spawn(
    'java',
    [
      '-Xmx512m',
      '-XX:+UseG1GC',
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      '-cp',
      classPath,
      'kafka.Kafka',
      settings,
    ],
    { stdio: ['ignore', log, log], detached: true },
  );
  java.on('exit', (code) => {
    if (stopping) return;
    console.error(`Apache Kafka ended by itself (code ${code}). Its log ends with:\n${logTail()}`);
    void stop(1);
  });
  return java;
}

async function stop(code) {
  if (stopping) return;
  stopping = true;
  if (server.exitCode === null && server.signalCode === null) {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGTERM');
    const hardStop = setTimeout(() => server.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(hardStop);
  }
  process.exit(code);
}

function logTail() {
  return readFileSync(join(dataFolder, 'server.log'), 'utf8').split('\n').slice(-30).join('\n');
}

async function freePorts(count) {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((resolve, reject) => {
          const probe = createServer().on('error', reject);
          probe.listen(0, '127.0.0.1', () => resolve(probe));
        }),
    ),
  );
  const ports = servers.map((probe) => probe.address().port);
  await Promise.all(servers.map((probe) => new Promise((resolve) => probe.close(resolve))));
  return ports;
}

/** Whether an ApiVersions request is answered before the deadline: a broker does that once it serves clients. */
async function answers(port, deadline) {
  // Size, api key 18, version 0, correlation id 1, null client id.
  const request = Buffer.from('0000000a0012000000000001ffff', 'hex');
  while (Date.now() < deadline) {
    if (stopping) return false;
    const answered = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(request));
      socket.setTimeout(2_000, () => socket.destroy());
      socket.once('data', () => resolve(true) || socket.destroy());
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
    });
    if (answered) return true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return false;
}
