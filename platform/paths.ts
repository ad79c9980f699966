import { fileURLToPath } from 'node:url';

/** The project's folder (compiled code is one level below it, in `dist/`). */
export const projectRoot = fileURLToPath(new URL('../../', import.meta.url));
