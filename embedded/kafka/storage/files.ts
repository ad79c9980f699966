import * as fs from 'node:fs';
import { open, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { crc32c } from '../../../platform/crc32c.js';

const readOnce = promisify(fs.read);
const writevOnce = promisify(fs.writev);
/** Waits until the file's data and size are on disk. */
export const dataSync = promisify(fs.fdatasync);

/** Reads `length` bytes at `position`, fewer only at the end of the file. */
export async function readAt(fd: number, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await readOnce(fd, bytes, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** One system call accepts at most this many buffers (IOV_MAX). */
const maxBuffersPerWrite = 1024;

/** Writes all buffers at `position`, however many the system accepts at a time. */
export async function writeAllAt(fd: number, buffers: readonly Buffer[], position: number): Promise<void> {
  let at = position;
  for (let from = 0; from < buffers.length; from += maxBuffersPerWrite) {
    let rest = buffers.slice(from, from + maxBuffersPerWrite);
    while (rest.length > 0) {
      const { bytesWritten } = await writevOnce(fd, rest, at);
      at += bytesWritten;
      rest = dropBytes(rest, bytesWritten);
    }
  }
}

function dropBytes(buffers: Buffer[], count: number): Buffer[] {
  let left = count;
  for (const [index, buffer] of buffers.entries()) {
    if (left < buffer.length) return [buffer.subarray(left), ...buffers.slice(index + 1)];
    left -= buffer.length;
  }
  return [];
}

/** Makes creations, renames and deletions in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a whole file: after a crash there is either the old content or the new one. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const temporary = `${path}.new`;
  const handle = await open(temporary, 'w');
  try {
    await writeFile(handle, content);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** A line with the CRC-32C of the text that follows it: see {@link unsealText}. */
export function sealText(text: string): string {
  return `${crc32c(Buffer.from(text)).toString(16)}\n${text}`;
}

/** Returns the text under the seal, or `undefined` when the two do not match. */
export function unsealText(sealed: string): string | undefined {
  const lineEnd = sealed.indexOf('\n');
  const text = sealed.slice(lineEnd + 1);
  return lineEnd > 0 && sealed.slice(0, lineEnd) === crc32c(Buffer.from(text)).toString(16)
    ? text
    : undefined;
}
