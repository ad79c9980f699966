import { z } from 'zod';

/**
 * What SQL may reach outside its own tables, by ClickHouse's names for sources: each stands for the table functions and
 * engines of that kind. `FILE` is for reading only.
 */
export const sqlSources = [
  'FILE',
  'URL',
  'REMOTE',
  'POSTGRES',
  'MYSQL',
  'MONGO',
  'REDIS',
  'SQLITE',
  'S3',
] as const;
export type SqlSource = (typeof sqlSources)[number];

/** The setting `CLICKHOUSE_SOURCES`: names of sources, comma separated. */
export const sqlSourcesSetting = z
  .string()
  .transform((text) => text.split(',').map((name) => name.trim()))
  .pipe(z.array(z.enum(sqlSources)))
  .optional()
  .describe(
    'What SQL of the embedded ClickHouse may reach outside its tables: FILE (to read), URL, REMOTE, POSTGRES, MYSQL, MONGO, REDIS, SQLITE, S3, comma separated. Unset: nothing.',
  );
