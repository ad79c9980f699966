// Apache Kafka on this machine, without containers: fetches the server from Maven Central, starts one
// combined broker and controller (KRaft) on free loopback ports, and removes everything but the download at
// the end.
//
//   node scripts/apache-kafka.mjs                  prints KAFKA_BROKERS=… once it is ready, stops on Ctrl-C
//   node scripts/apache-kafka.mjs -- npm test      runs the command with KAFKA_BROKERS set, exits with its code
//
// Needs Java 17 and Maven. Settings: KAFKA_VERSION, APACHE_KAFKA_CACHE (folder of the downloads).
// APACHE_KAFKA_BROKERS_COUNT=3 makes a cluster of three, with a copy of each topic on every one. With
// APACHE_KAFKA_ACCESS_LISTS=true it has an authorizer, for tests of denied permissions.
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { fetchJars } from './apache-kafka-jars.mjs';

fetchJars();
// The server is handled by the same code as in the tests, which has to be compiled.
const setup = spawnSync(process.execPath, [fileURLToPath(new URL('setup.mjs', import.meta.url))], {
  stdio: ['inherit', 2, 2],
});
if (setup.status !== 0) process.exit(1);
const { ApacheKafkaCluster } = await import('../dist/tests/system/engines/apache-kafka-cluster.js');

let kafka;
let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void stop(0));

try {
  kafka = await ApacheKafkaCluster.start(Number(process.env.APACHE_KAFKA_BROKERS_COUNT ?? 1), {
    jvmOptions: ['-Xmx512m', '-XX:+UseG1GC'],
    // Resources without an access list are open to all. Benchmarks omit the authorizer, which costs time.
    settings: process.env.APACHE_KAFKA_ACCESS_LISTS
      ? {
          'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'allow.everyone.if.no.acl.found': 'true',
        }
      : {},
  });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
if (stopping) {
  await kafka.stop();
  process.exit(0);
}
void endWithKafka();

const separator = process.argv.indexOf('--');
const [command, ...args] = separator === -1 ? [] : process.argv.slice(separator + 1);
const KAFKA_BROKERS = kafka.brokers.join(',');
if (command === undefined) {
  console.log(`KAFKA_BROKERS=${KAFKA_BROKERS}`);
} else {
  const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, KAFKA_BROKERS } });
  child.on('error', (error) => {
    console.error(`Cannot run ${command}: ${error.message}`);
    void stop(127);
  });
  child.on('exit', (code) => void stop(code ?? 1));
}

async function endWithKafka() {
  const how = await kafka.ended();
  if (stopping) return;
  console.error(how);
  await stop(1);
}

async function stop(code) {
  if (stopping) return;
  stopping = true;
  if (kafka === undefined) return;
  await kafka.stop();
  process.exit(code);
}
