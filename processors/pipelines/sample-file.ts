import { readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Contract } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import { loadSampler, seededRandom } from './sampler.js';

/** Maximum size of a file of events, which are kept in memory. */
const maxBytes = 10_000_000;

/** Where a pipeline's sample events come from: one of the files, relative to the project. */
export interface SampleFiles {
  /** Events as JSON, one a line (`.jsonl`), or one or an array of them (`.json`). */
  events?: string | undefined;
  /** Figures of a table: see `docs/projects.md`. */
  figures?: string | undefined;
}

/**
 * Returns a generator of a pipeline's sample events.
 *
 * @throws MillraceError `PIPELINE_INVALID` if a file can't be read, or gives events that don't fit the
 *   contract.
 */
export async function loadSample(
  project: string,
  { events, figures }: SampleFiles,
  { schema }: Contract,
): Promise<(random: () => number) => object> {
  const fit = (event: unknown, place: string): object => {
    const result = eventSchema(schema).safeParse(event);
    if (result.success) return result.data;
    const { message } = new InvalidEvent(fieldErrors(result.error));
    throw invalid(`${place}: the event does not fit the contract: ${message}`);
  };
  if (figures !== undefined) {
    const draw = loadSampler<object>(join(project, figures));
    fit(draw(seededRandom(1)), `figures: ${figures}`);
    return draw;
  }
  const file = events ?? '';
  const sampled = (await readEvents(join(project, file), file)).map(([place, event]) => fit(event, place));
  if (sampled.length === 0) throw invalid(`events: ${file} has no event`);
  return (random) => sampled[Math.floor(random() * sampled.length)] ?? {};
}

/** Returns each event with its place, for messages. */
async function readEvents(path: string, file: string): Promise<[place: string, event: unknown][]> {
  const text = await readSmall(path);
  if (extname(path) !== '.jsonl') {
    const value = parse(text, `events: ${file}`);
    return Array.isArray(value)
      ? value.map((event, index) => [`events: ${file}: event ${index + 1}`, event as unknown])
      : [[`events: ${file}`, value]];
  }
  return text.split('\n').flatMap((line, index): [string, unknown][] => {
    const place = `events: ${file}:${index + 1}`;
    return line.trim() === '' ? [] : [[place, parse(line, place)]];
  });
}

async function readSmall(path: string): Promise<string> {
  let size: number;
  try {
    ({ size } = await stat(path));
    if (size <= maxBytes) return await readFile(path, 'utf8');
  } catch (error) {
    throw invalid(`events: cannot read ${path}: ${messageOf(error)}`);
  }
  const sizes = [size, maxBytes].map((bytes) => `${(bytes / 1e6).toFixed(0)} MB`);
  throw invalid(`events: ${path} has ${sizes[0]}, more than ${sizes[1]}. Some hundred events are enough`);
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`${place}: not JSON: ${messageOf(error)}`);
  }
}

function invalid(problem: string): MillraceError {
  return new MillraceError('PIPELINE_INVALID', `${problem}.`);
}
