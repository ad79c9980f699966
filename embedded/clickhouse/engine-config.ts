import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SqlSource } from '../../platform/sql-sources.js';

/**
 * All permissions of the engine's one user, which the application also uses: no SYSTEM KILL or SHUTDOWN, no
 * BACKUP, no dictionaries (they can name a file or a command), no functions, users or named collections.
 */
const privileges = [
  'SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE',
  'CHECK, KILL QUERY, SYSTEM MERGES, SYSTEM FLUSH LOGS, SYSTEM FLUSH ASYNC INSERT QUEUE',
];

/**
 * Constant settings. They name files or addresses that the engine would then read, contain SQL in a string,
 * or make the parser read another language than the examined one.
 */
const lockedSettings = [
  'additional_result_filter',
  'additional_table_filters',
  'allow_experimental_eval_table_function',
  'allow_introspection_functions',
  'dialect',
  'format_avro_schema_registry_url',
  'format_schema',
  'format_schema_source',
  'format_template_resultset',
  'format_template_row',
  // A file that is written.
  'output_format_schema',
  'parallel_replicas_custom_key',
  'schema_inference_hints',
  // A custom disk can be any folder.
  'merge_tree_disk',
  'merge_tree_table_disk',
];

/**
 * Runs `start` with a temporary configuration file that limits the engine's user to the necessary
 * permissions. Without one, an embedded engine's user may do everything, with the rights of this process.
 */
export async function withEngineConfig<T>(
  sources: readonly SqlSource[],
  start: (file: string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-clickhouse-config-'));
  const users = join(folder, 'users.xml');
  const file = join(folder, 'config.xml');
  try {
    writeFileSync(users, usersXml(sources));
    writeFileSync(file, `<clickhouse><users_config>${users}</users_config></clickhouse>`);
    return await start(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function usersXml(sources: readonly SqlSource[]): string {
  const grants = [
    ...privileges.map((list) => `GRANT ${list} ON *.*`),
    ...sources.map((source) => `GRANT READ${source === 'FILE' ? '' : ', WRITE'} ON ${source}`),
    ...sources.flatMap((source) => enginesOf(source)).map((engine) => `GRANT TABLE ENGINE ON ${engine}`),
  ];
  return `<clickhouse>
    <users><default>
      <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
      <grants>${grants.map((grant) => `<query>${grant}</query>`).join('')}</grants>
    </default></users>
    <profiles><default>
      <constraints>${lockedSettings.map((name) => `<${name}><readonly/></${name}>`).join('')}</constraints>
    </default></profiles>
    <quotas><default></default></quotas>
  </clickhouse>`;
}

const engines: Partial<Record<SqlSource, string>> = {
  URL: 'URL',
  POSTGRES: 'PostgreSQL',
  MYSQL: 'MySQL',
  S3: 'S3',
};

/**
 * The engines that tables and databases may have for a source. None for files: such a table could be written.
 */
export function enginesOf(source: SqlSource): string[] {
  const engine = engines[source];
  return engine === undefined ? [] : [engine];
}
