import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate with its key, as files and as one file. */
export interface IssuedCertificate {
  certFile: string;
  keyFile: string;
  /** Key and certificate in the form that Apache Kafka and Redis may need. */
  bothFile: string;
  /** For `tls.createServer`. */
  cert: string;
  key: string;
}

/** A test's certificate authority, made with openssl at run time. */
export class Authority {
  readonly caFile: string;
  readonly #folder: string;
  readonly #name: string;

  /** @param folder - for all files, under the authority's name. */
  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.#name = name;
    this.caFile = this.#file('ca.pem');
    const subject = ['-days', '2', '-subj', `/CN=${name}`];
    openssl('req', '-x509', ...newKey, ...subject, '-keyout', this.#file('ca.key'), '-out', this.caFile);
  }

  /** @param names - of hosts; none for a client. @param days - negative: it has expired. */
  issue(who: string, { names = [], days = 2 }: { names?: string[]; days?: number } = {}): IssuedCertificate {
    const [request, certFile, keyFile, bothFile] = [
      this.#file(`${who}.csr`),
      this.#file(`${who}.pem`),
      this.#file(`${who}.key`),
      this.#file(`${who}-both.pem`),
    ];
    const hosts = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join(',')}`];
    openssl('req', ...newKey, '-subj', `/CN=${who}`, ...hosts, '-keyout', keyFile, '-out', request);
    const authority = ['-CA', this.caFile, '-CAkey', this.#file('ca.key'), '-CAcreateserial'];
    const validity = ['-days', String(days), '-copy_extensions', 'copy'];
    openssl('x509', '-req', '-in', request, ...validity, ...authority, '-out', certFile);
    const [cert, key] = [readFileSync(certFile, 'utf8'), readFileSync(keyFile, 'utf8')];
    writeFileSync(bothFile, key + cert);
    return { certFile, keyFile, bothFile, cert, key };
  }

  #file(name: string): string {
    return join(this.#folder, `${this.#name}-${name}`);
  }
}

/** Replaces a certificate by another, as a renewal does. */
export function replaceCertificate(place: IssuedCertificate, renewed: IssuedCertificate): void {
  copyFileSync(renewed.certFile, place.certFile);
  copyFileSync(renewed.keyFile, place.keyFile);
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
