import { z } from 'zod';

/**
 * External sources that SQL may access, by ClickHouse's names: each allows the table functions and engines of
 * that kind. `FILE` is read-only.
 */
const sqlSources = ['FILE', 'URL', 'REMOTE', 'POSTGRES', 'MYSQL', 'MONGO', 'REDIS', 'SQLITE', 'S3'] as const;
export type SqlSource = (typeof sqlSources)[number];

/** Parses the setting `CLICKHOUSE_SOURCES`: names of sources, comma separated. */
export const sqlSourcesSetting = z
  .string()
  .transform((text) => text.split(',').map((name) => name.trim()))
  .pipe(z.array(z.enum(sqlSources)))
  .optional()
  .describe(
    'Sources outside its tables that SQL of the embedded ClickHouse may access, comma-separated: FILE (read only), URL, REMOTE, POSTGRES, MYSQL, MONGO, REDIS, SQLITE, S3. Unset: none.',
  );
