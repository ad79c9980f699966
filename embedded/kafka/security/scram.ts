import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { failed } from './exchange.js';
import type { SaslStep } from './exchange.js';
import type { ScramHash, Users } from './users.js';

/**
 * SCRAM without channel binding, the server's side (RFC 5802, section 5):
 *
 *     client first  n,[a=authorization id],n=user,r=client nonce[,extensions]
 *     server first  r=client nonce and server nonce,s=salt,i=iterations
 *     client final  c=base64 of the first message's header,r=both nonces[,extensions],p=proof
 *     server final  v=signature
 */
export function scram(users: Users, hash: ScramHash): SaslStep {
  return async (token) => {
    const first = /^([ny],(?:a=([^,]*))?,)(n=([^,]+),r=([\x21-\x2B\x2D-\x7E]+)(?:,[a-zA-Z]=[^,]*)*)$/.exec(
      token.toString('utf8'),
    );
    if (first === null) return failed;
    const [, gs2Header = '', authorizationId = '', firstBare = '', name = '', clientNonce = ''] = first;
    const user = unescapeName(name);
    if (authorizationId !== '' && unescapeName(authorizationId) !== user) return failed;

    const { salt, iterations, storedKey, serverKey } = await users.scramKeys(user, hash);
    const nonce = clientNonce + randomBytes(24).toString('base64url');
    const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;

    const finish: SaslStep = (finalToken) => {
      const final = /^(c=([^,]+),r=([^,]+)(?:,[a-zA-Z]=[^,]*)*),p=([^,]+)$/.exec(finalToken.toString('utf8'));
      if (final === null) return Promise.resolve(failed);
      const [, withoutProof = '', binding = '', echoedNonce = '', encodedProof = ''] = final;
      const proof = Buffer.from(encodedProof, 'base64');
      const sameHeader = binding === Buffer.from(gs2Header).toString('base64');
      // librdkafka before 2.2 repeats its own nonce in front. Only the end makes the exchange fresh.
      if (!sameHeader || !echoedNonce.endsWith(nonce) || proof.length !== storedKey.length)
        return Promise.resolve(failed);
      const messages = `${firstBare},${serverFirst},${withoutProof}`;
      const signature = createHmac(hash, storedKey).update(messages).digest();
      const clientKey = Buffer.from(proof.map((byte, i) => byte ^ (signature[i] ?? 0)));
      const proven = timingSafeEqual(createHash(hash).update(clientKey).digest(), storedKey);
      if (!proven || !users.has(user)) return Promise.resolve(failed);
      const serverSignature = createHmac(hash, serverKey).update(messages).digest('base64');
      return Promise.resolve({ kind: 'authenticated', answer: Buffer.from(`v=${serverSignature}`) });
    };
    return { kind: 'continue', answer: Buffer.from(serverFirst), next: finish };
  };
}

function unescapeName(name: string): string {
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=');
}
