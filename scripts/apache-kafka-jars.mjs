// The jars of Apache Kafka (server, command line tools, Streams), fetched from Maven Central into a cache
// folder.
//
//   node scripts/apache-kafka-jars.mjs             downloads them if missing, prints their folder
//   node scripts/apache-kafka-jars.mjs --cached    prints their folder, or fails if they are missing
//
// Needs Maven. Settings: KAFKA_VERSION, APACHE_KAFKA_CACHE (folder of the downloads).
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Not newer: 4.3.0 to 4.4.0 can drop transaction markers when a broker is killed (KAFKA-20734).
export const version = process.env.KAFKA_VERSION ?? '4.2.1';

const artifacts = [
  `org.apache.kafka:kafka_2.13:${version}`,
  `org.apache.kafka:kafka-tools:${version}`,
  `org.apache.kafka:kafka-streams:${version}`,
  // Required to see warnings of clients and server.
  'org.slf4j:slf4j-simple:1.7.36',
];
const cacheFolder =
  process.env.APACHE_KAFKA_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'millrace', 'apache-kafka');
const project = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.millrace</groupId><artifactId>apache-kafka</artifactId><version>1</version>
  <dependencies>
${artifacts.map(dependency).join('\n')}
  </dependencies>
</project>
`;
const folder = join(
  cacheFolder,
  `${version}-${createHash('sha256').update(project).digest('hex').slice(0, 8)}`,
);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--cached') && !existsSync(folder)) process.exit(1);
  console.log(fetchJars());
}

/** Downloads the jars once and atomically. Returns their folder. */
export function fetchJars() {
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder, { recursive: true });
  const work = mkdtempSync(join(cacheFolder, 'download-'));
  writeFileSync(join(work, 'pom.xml'), project);
  console.error(`Fetching Apache Kafka ${version} from Maven Central …`);
  const { status, error } = spawnSync(
    'mvn',
    ['-q', '-B', 'dependency:copy-dependencies', '-DincludeScope=runtime', '-DoutputDirectory=lib'],
    { cwd: work, stdio: ['ignore', 2, 2] },
  );
  if (status === 0) renameSync(join(work, 'lib'), folder);
  rmSync(work, { recursive: true, force: true });
  if (status !== 0) {
    console.error(
      `Fetching failed${error ? `: ${error.message} (is Maven installed?)` : '; the lines above say why'}.`,
    );
    process.exit(1);
  }
  return folder;
}

function dependency(artifact) {
  const [group, name, artifactVersion] = artifact.split(':');
  return `    <dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${artifactVersion}</version></dependency>`;
}
