import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TlsCertificate } from '../network/server.js';

/** Whether this machine can make certificates; tests that need one are skipped otherwise. */
export const hasOpenssl = succeeds(() => openssl('version'));

/**
 * Makes an authority and a certificate of it for 127.0.0.1 and localhost, in `folder`.
 *
 * @returns the server's side, and the file of the authority that its clients must trust.
 */
export function makeCertificate(folder: string): { server: TlsCertificate; caFile: string } {
  const file = (name: string): string => join(folder, name);
  const keys = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const [ca, caKey, request, cert, key] = ['ca.pem', 'ca.key', 'server.csr', 'server.pem', 'server.key'].map(
    file,
  );
  const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  openssl('req', '-x509', ...keys, '-days', '2', '-subj', '/CN=test authority', '-keyout', caKey, '-out', ca);
  openssl('req', ...keys, '-subj', '/CN=localhost', ...names, '-keyout', key, '-out', request);
  const authority = ['-CA', ca, '-CAkey', caKey, '-CAcreateserial', '-copy_extensions', 'copy'];
  openssl('x509', '-req', '-in', request, '-days', '2', ...authority, '-out', cert);
  return {
    server: { cert: readFileSync(cert ?? '', 'utf8'), key: readFileSync(key ?? '', 'utf8') },
    caFile: ca ?? '',
  };
}

function openssl(...args: (string | undefined)[]): void {
  execFileSync(
    'openssl',
    args.filter((arg) => arg !== undefined),
    { stdio: 'ignore' },
  );
}

function succeeds(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}
