import { clickHouseSettings, createAnalytics } from '../analytics/client.js';
import { translateError } from '../analytics/errors.js';
import type { Config } from '../platform/config.js';
import { printableLines } from '../ops/dead-letters/printable.js';
import { findEngine } from '../ops/find-engines.js';

/**
 * Runs one statement on ClickHouse and prints the result: a table on a terminal, otherwise tab-separated
 * lines. A `FORMAT` clause takes precedence.
 *
 * @throws MillraceError as {@link translateError}.
 */
export async function runSql(config: Config, query: string): Promise<void> {
  const analytics = createAnalytics({
    url: await findEngine(config, 'clickhouse'),
    ...clickHouseSettings(config),
  });
  const format = process.stdout.isTTY ? 'PrettyCompact' : 'TabSeparated';
  try {
    // The client's types list only the formats that it can parse.
    const { stream } = await analytics.client.exec({
      query,
      clickhouse_settings: { default_format: format as 'TabSeparated' },
    });
    if (process.stdout.isTTY)
      for await (const text of stream.setEncoding('utf8')) process.stdout.write(printableLines(String(text)));
    else for await (const bytes of stream) process.stdout.write(bytes as Buffer);
  } catch (error) {
    throw translateError(error, 'run the query');
  } finally {
    await analytics.close();
  }
}
