import { statSync } from 'node:fs';

/**
 * Returns a text that changes with each change of a file; empty while it is missing or unreadable. Never
 * throws.
 */
export function fileVersion(file: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return '';
  }
}
