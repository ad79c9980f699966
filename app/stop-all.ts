import type { Role } from './context.js';

/**
 * Stops roles, the last started first. One that fails to stop keeps no other from being stopped.
 *
 * @throws the first failure, once all have been tried.
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
