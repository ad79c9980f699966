import { fileURLToPath } from 'node:url';

/**
 * Folder of Millrace's own files: shared contracts, migrations, `package.json`. Compiled code is one level
 * below it, in `dist/`. A user's files are in the project folder, the setting `MILLRACE_PROJECT`.
 */
export const packageRoot = fileURLToPath(new URL('../../', import.meta.url));
