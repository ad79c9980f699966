import type { Config } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { eachDeadLetter, readResolutions } from '../../processors/dead-letters/search.js';
import type { StoredDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import { originalRecord } from '../../processors/dead-letters/resolve.js';
import { jsonObject } from '../../streams/json-value.js';
import { Serde } from '../../streams/serde.js';
import { findRegistry, withLog } from '../find-engines.js';
import { summaryOf } from './list.js';
import { printable, printableBytes, printableLines } from './printable.js';

export interface ShowOptions {
  pipelines: string[];
  json?: boolean;
  /** Prints only the bytes of the value. */
  raw?: boolean;
}

/**
 * Prints one dead letter in full.
 *
 * @throws MillraceError `DEAD_LETTER_UNKNOWN`.
 */
export async function showDeadLetter(config: Config, id: string, options: ShowOptions): Promise<void> {
  const { deadLetter, summary } = await withLog(config, async (streams) => {
    let found: StoredDeadLetter | undefined;
    await eachDeadLetter(streams, options.pipelines, (deadLetters) => {
      found ??= deadLetters.find((each) => each.id === id);
    });
    if (found === undefined) {
      throw new MillraceError(
        'DEAD_LETTER_UNKNOWN',
        `There is no dead letter ${printable(id)}. \`millrace dead-letters list --state all\` lists all of them.`,
      );
    }
    const resolutions = await readResolutions(streams, [found.pipeline]);
    return { deadLetter: found, summary: summaryOf(found, resolutions.get(id)) };
  });
  const { value, key, headers } = deadLetter.record;
  if (options.raw) {
    if (process.stdout.isTTY)
      throw new MillraceError(
        'RAW_ON_TERMINAL',
        'Raw bytes could change the terminal. Redirect the output to a file.',
      );
    process.stdout.write(value ?? '');
    return;
  }
  const decoded = await decode(config, value);
  const back = originalRecord(deadLetter);
  const redrivable = back instanceof MillraceError ? back.message : null;
  if (options.json) {
    const answer = {
      ...summary,
      not_redrivable: redrivable,
      key_base64: key?.toString('base64') ?? null,
      headers_base64: Object.fromEntries(
        Object.entries(headers).map(([name, bytes]) => [name, bytes.toString('base64')]),
      ),
      value_base64: value?.toString('base64') ?? null,
      value: decoded.json !== undefined ? (JSON.parse(decoded.json) as unknown) : null,
    };
    console.log(printable(JSON.stringify(answer)));
    return;
  }
  const facts = { ...summary, ...(redrivable === null ? {} : { not_redrivable: redrivable }) };
  const lines = Object.entries(facts).flatMap(([name, fact]) =>
    fact === null || fact === '' ? [] : [`${name.padEnd(16)} ${printable(String(fact))}`],
  );
  console.log(lines.join('\n'));
  console.log(`\nKey\n${key === null ? 'none' : printableBytes(key)}`);
  console.log('\nHeaders');
  for (const [name, bytes] of Object.entries(headers)) {
    const [first = '', ...more] = printableBytes(bytes, 512).split('\n');
    console.log([`${printable(name)}: ${first}`, ...more].join('\n    '));
  }
  console.log(`\nValue, ${value === null ? 'none' : `${value.length} bytes`}${decoded.how}`);
  if (decoded.json !== undefined)
    console.log(printableLines(JSON.stringify(JSON.parse(decoded.json), undefined, 2)));
  else if (value !== null) console.log(printableBytes(value));
}

/** Decodes JSON, or Avro with a schema in the registry. `how` describes the encoding or the problem. */
async function decode(config: Config, value: Buffer | null): Promise<{ how: string; json?: string }> {
  if (value === null) return { how: '' };
  try {
    const json = jsonObject(value);
    if (json !== undefined) return { how: ', JSON', json: JSON.stringify(json) };
    const serde = new Serde(await findRegistry(config));
    return { how: ', by its own schema', json: await serde.toJson(value) };
  } catch (error) {
    return { how: `. ${printable(messageOf(error))}` };
  }
}
