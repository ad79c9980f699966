import { statSync } from 'node:fs';

/** Another text after each change of a file; empty while it is not there, or can't be looked at. Never throws. */
export function fileVersion(file: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return '';
  }
}
