import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const deriveKey = promisify(pbkdf2);

export type ScramHash = 'sha256' | 'sha512';

/** A SCRAM server's data of a user (RFC 5802, section 3). */
export interface ScramKeys {
  salt: Buffer;
  iterations: number;
  storedKey: Buffer;
  serverKey: Buffer;
}

/** The minimum of RFC 7677, and Kafka's default. */
const iterations = 4096;

/**
 * The users that may log in. Answers for unknown users take the same work, so that names can't be found out.
 */
export class Users {
  readonly #passwords: ReadonlyMap<string, string>;
  readonly #secret = randomBytes(32);
  readonly #keys = new Map<string, Promise<ScramKeys>>();

  /** @param passwords - by user name. */
  constructor(passwords: Readonly<Record<string, string>>) {
    this.#passwords = new Map(Object.entries(passwords));
  }

  has(user: string): boolean {
    return this.#passwords.has(user);
  }

  /** Compares in constant time. */
  hasPassword(user: string, password: string): boolean {
    const expected = this.#passwords.get(user);
    const equal = timingSafeEqual(this.#digest(expected ?? ''), this.#digest(password));
    return equal && expected !== undefined;
  }

  /** Derived at a user's first login, and cached. Unknown users get keys that no password matches. */
  scramKeys(user: string, hash: ScramHash): Promise<ScramKeys> {
    const password = this.#passwords.get(user);
    if (password === undefined) return this.#derive(user, this.#digest(user).toString('hex'), hash);
    const name = `${hash} ${user}`;
    const known = this.#keys.get(name) ?? this.#derive(user, password, hash);
    this.#keys.set(name, known);
    return known;
  }

  async #derive(user: string, password: string, hash: ScramHash): Promise<ScramKeys> {
    // The same salt at each login, even for a user that does not exist.
    const salt = this.#digest(`salt ${hash} ${user}`).subarray(0, 16);
    const bytes = hash === 'sha256' ? 32 : 64;
    const salted = await deriveKey(password, salt, iterations, bytes, hash);
    const clientKey = createHmac(hash, salted).update('Client Key').digest();
    const storedKey = createHash(hash).update(clientKey).digest();
    const serverKey = createHmac(hash, salted).update('Server Key').digest();
    return { salt, iterations, storedKey, serverKey };
  }

  #digest(text: string): Buffer {
    return createHmac('sha256', this.#secret).update(text).digest();
  }
}
