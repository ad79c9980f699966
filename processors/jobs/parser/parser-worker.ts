// Runs in a worker thread: reads one file at a time, and answers one request after the other.
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { parentPort } from 'node:worker_threads';
import { MillraceError } from '../../../platform/errors.js';
import { inBatches } from '../formats/batches.js';
import { detectFormat, fileFormats } from '../formats/detect-format.js';
import { examine } from '../formats/examine.js';
import type { AddedValues, FileFormat, InputFile, InputRow } from '../formats/file-format.js';
import { remember } from '../formats/remember.js';
import type { Reply, Request, RowMessage } from './parser-thread.js';

const port = parentPort;
if (port === null) throw new Error('parser-worker is started by ParserThread, in a worker thread.');

let format: FileFormat | undefined;
let file: InputFile | undefined;
let pass: AsyncGenerator<InputRow[], void, AddedValues[] | undefined> | undefined;

port.on('message', (request: Request) => {
  void answer(request).then(
    (reply) => port.postMessage(reply),
    (error: unknown) => port.postMessage(toReply(error)),
  );
});

async function answer(request: Request): Promise<Reply> {
  if ('open' in request) {
    format =
      request.format === undefined
        ? await detectFormat(request.open, request.name)
        : fileFormats[request.format];
    file = remember(await format.open(request.open));
    const { columns, pointsAreDecimal } = file;
    return { opened: { format: format.name, columns, pointsAreDecimal } };
  }
  if ('next' in request) return nextBatch(request.next);
  if (file === undefined || format === undefined) throw new Error('no file is open');
  if ('examine' in request) return { examined: await examine(file, request.examine) };
  if ('read' in request) {
    pass = readAhead(inBatches(file.rows(), request.read));
    return nextBatch(undefined);
  }
  if ('write' in request) {
    const batches = readAhead(inBatches(file.rows(), { maxRows: request.maxRows }));
    pass = write(format, request.write, file, request.added, batches);
    return nextBatch(undefined);
  }
  // An incomplete pass keeps the file open.
  await pass?.return();
  pass = undefined;
  file.close();
  file = undefined;
  return { closed: true };
}

async function nextBatch(values: AddedValues[] | undefined): Promise<Reply> {
  const next = await pass?.next(values);
  return { rows: next === undefined || next.done === true ? undefined : next.value.map(toMessage) };
}

function toMessage({ values, problem, original }: InputRow): RowMessage {
  if (problem !== undefined) return { problem };
  return typeof original === 'string' ? { values } : { cells: original };
}

/** Reads the next batch while the other thread uses the last one. */
async function* readAhead<Batch>(source: AsyncGenerator<Batch>): AsyncGenerator<Batch, void, undefined> {
  let next = source.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true) return;
      next = source.next();
      // Thrown when it is awaited, which may be later than the failure.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await source.return(undefined);
  }
}

/** Yields each batch of rows, receives its added values, and writes both. */
async function* write(
  output: FileFormat,
  path: string,
  input: InputFile,
  added: readonly string[],
  batches: AsyncIterable<InputRow[]>,
): AsyncGenerator<InputRow[], void, AddedValues[] | undefined> {
  const pairs = new PassThrough({ objectMode: true, highWaterMark: 1 });
  const written = output.write(path, input, added, pairs);
  written.catch(() => undefined);
  for await (const rows of batches) {
    const values = (yield rows) ?? [];
    if (!pairs.write(rows.map((row, index) => [row, values[index] ?? {}])))
      await Promise.race([once(pairs, 'drain'), written]);
  }
  pairs.end();
  await written;
}

function toReply(error: unknown): Reply {
  if (error instanceof MillraceError && error.code === 'FILE_INVALID') return { fileInvalid: error.message };
  // A cloned error has only the standard properties.
  const { code, syscall } = error as NodeJS.ErrnoException;
  return { error, properties: syscall === undefined ? {} : { code, syscall } };
}
