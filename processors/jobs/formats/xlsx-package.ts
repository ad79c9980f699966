import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { SaxesParser } from 'saxes';
import { MillraceError, messageOf } from '../../../platform/errors.js';
import { fileInvalid, isFileSystemError, maxRecordLength } from './file-format.js';

const maxParts = 10_000;
/** Unpacked: three times the size of a full sheet of twenty columns. */
const maxPartBytes = 2 * 1024 ** 3;
const maxSmallPartBytes = 16 * 1024 ** 2;
const maxDepth = 100;

/** Handlers of a part's content; tags have their local names. */
export interface XmlHandler {
  open?(name: string, attributes: Record<string, string>): void;
  text?(text: string): void;
  close?(name: string): void;
}

/** The parts of a workbook: a zip file on disk, of which only requested parts are unpacked. */
export class XlsxPackage {
  readonly #zip: ZipFile;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(zip: ZipFile, entries: ReadonlyMap<string, Entry>) {
    this.#zip = zip;
    this.#entries = entries;
  }

  /** Opens a workbook. @throws MillraceError `FILE_INVALID` for an invalid or malicious zip file. */
  static async open(path: string): Promise<XlsxPackage> {
    const zip = await translated(() => yauzl.openPromise(path, { lazyEntries: true, autoClose: false }));
    try {
      const entries = await translated(() => readEntries(zip));
      return new XlsxPackage(zip, entries);
    } catch (error) {
      zip.close();
      throw error;
    }
  }

  close(): void {
    this.#zip.close();
  }

  get partNames(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * Reads a part in chunks, and yields after each, so that other work proceeds and nothing is unpacked in
   * advance.
   *
   * @throws MillraceError `FILE_INVALID` when it is missing, damaged, or larger than `maxBytes`.
   */
  async *parse(
    name: string,
    handler: XmlHandler,
    maxBytes: number = maxSmallPartBytes,
  ): AsyncGenerator<void> {
    const entry = this.#entries.get(partKey(name));
    if (entry === undefined) throw fileInvalid(`The file is no workbook: it has no part ${name}.`);
    if (entry.uncompressedSize > maxBytes) {
      throw fileInvalid(
        `Unpacked, ${name} has ${entry.uncompressedSize} bytes; up to ${maxBytes} are read. Split the sheet, or send csv.`,
      );
    }
    const parser = createParser(name, handler);
    const stream = await translated(() => this.#zip.openReadStreamPromise(entry));
    const decoder = new TextDecoder('utf-8', { fatal: true });
    const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const chunk = await translated(() => chunks.next(), name);
        await translated(
          () => parser(decoder.decode(chunk.value, { stream: !chunk.done }), chunk.done),
          name,
        );
        yield;
        if (chunk.done) return;
      }
    } finally {
      stream.destroy();
    }
  }

  /** Reads a whole part. @throws as {@link parse}. */
  async parseAll(name: string, handler: XmlHandler, maxBytes?: number): Promise<void> {
    for await (const _ of this.parse(name, handler, maxBytes));
  }

  has(name: string): boolean {
    return this.#entries.has(partKey(name));
  }
}

async function readEntries(zip: ZipFile): Promise<Map<string, Entry>> {
  if (zip.entryCount > maxParts)
    throw fileInvalid(`The file has ${zip.entryCount} parts, more than any workbook.`);
  const entries = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    const key = partKey(entry.fileName);
    if (entries.has(key)) throw fileInvalid(`The file has two parts with the name ${entry.fileName}.`);
    if (entry.isEncrypted())
      throw fileInvalid('The file is an encrypted zip file. Send it without a password.');
    if (entry.uncompressedSize > maxPartBytes) {
      throw fileInvalid(
        `Unpacked, ${entry.fileName} has ${entry.uncompressedSize} bytes; up to ${maxPartBytes} are read. Split the sheet, or send csv.`,
      );
    }
    entries.set(key, entry);
  }
  return entries;
}

/** Names of parts are case-insensitive (ECMA-376 part 2, 6.2.2.3). */
function partKey(name: string): string {
  return name.replace(/^\//, '').toLowerCase();
}

function createParser(part: string, handler: XmlHandler): (text: string, isLast?: boolean) => void {
  const parser = new SaxesParser({ position: false });
  let depth = 0;
  let withoutEvent = 0;
  parser.on('opentag', (tag) => {
    withoutEvent = 0;
    if (++depth > maxDepth) throw fileInvalid(`${part} has tags ${depth} deep: no workbook has.`);
    handler.open?.(localName(tag.name), tag.attributes as Record<string, string>);
  });
  parser.on('text', (text) => handler.text?.(text));
  parser.on('cdata', (text) => handler.text?.(text));
  parser.on('closetag', (tag) => {
    withoutEvent = 0;
    depth--;
    handler.close?.(localName(tag.name));
  });
  parser.on('doctype', () => {
    throw fileInvalid(`${part} has a document type definition: no workbook has.`);
  });
  return (text, isLast = false) => {
    withoutEvent += text.length;
    parser.write(text);
    if (withoutEvent > maxRecordLength) {
      throw fileInvalid(`${part} has a text or a tag with more than ${maxRecordLength} characters.`);
    }
    if (isLast) parser.close();
  };
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

/** Runs a function, and converts errors that libraries throw for an invalid file. */
async function translated<T>(action: () => T | Promise<T>, part?: string): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof MillraceError || isFileSystemError(error)) throw error;
    const where = part === undefined ? '' : ` in ${part}`;
    throw fileInvalid(`The workbook is damaged${where}: ${messageOf(error)}.`, error);
  }
}
