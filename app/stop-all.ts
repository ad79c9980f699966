import type { Role } from './context.js';

/**
 * Stops roles in reverse order of their start. Continues if one fails to stop.
 *
 * @throws the first error, after all were stopped.
 */
export async function stopAll(roles: readonly Role[]): Promise<void> {
  const failures: unknown[] = [];
  for (const role of roles.toReversed()) {
    try {
      await role.stop();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
