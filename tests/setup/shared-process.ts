import { afterAll, afterEach, vi } from 'vitest';
import { forgetSecrets } from '../../platform/secrets.js';

// Files share processes: what one changes in its process would change what the next one sees. A password, for
// example, would be left out of all messages.
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});
afterAll(forgetSecrets);
