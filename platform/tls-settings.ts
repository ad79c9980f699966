import { readFileSync } from 'node:fs';
import { Agent, type AgentOptions } from 'node:https';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type ConnectionOptions, createSecureContext, type SecureContext } from 'node:tls';
import { z } from 'zod';
import { MillraceError, messageOf } from './errors.js';
import { fileVersion } from './file-version.js';

/** Engines that support TLS, by the prefix of their settings. */
const tlsEngines = ['KAFKA', 'SCHEMA_REGISTRY', 'CLICKHOUSE', 'RABBITMQ', 'REDIS'] as const;
export type TlsEngine = (typeof tlsEngines)[number];

const meanings = {
  CA: 'PEM file of the certificate authority to trust. Unset: the authorities that Node trusts.',
  CERT: 'PEM file of the client certificate and its chain, without the authority.',
  KEY: 'PEM file of the private key of that certificate.',
  SERVER_NAME: 'Host name in the server’s certificate, if it differs from the address.',
} as const;

type TlsVariable = `${TlsEngine}_TLS_${keyof typeof meanings}`;

/** Settings of TLS, by their variables. */
export type TlsConfig = Partial<Record<TlsVariable, string | undefined>>;

/** The settings of one engine. */
export function tlsVariables<E extends TlsEngine>(engine: E) {
  return Object.fromEntries(
    Object.entries(meanings).map(([part, meaning]) => [
      `${engine}_TLS_${part}`,
      z.string().optional().describe(meaning),
    ]),
  ) as Record<`${E}_TLS_${keyof typeof meanings}`, z.ZodOptional<z.ZodString>>;
}

/**
 * Returns Node's options for the connections to an engine; the server's certificate is always verified.
 * Certificates are read again when their files change, so new connections use the current ones. While they
 * are unreadable, or don't belong together, the previous ones are used.
 */
export function tlsOptions(config: TlsConfig, engine: TlsEngine): ConnectionOptions {
  const files = filesOf(config, engine);
  const servername = config[`${engine}_TLS_SERVER_NAME`];
  const name = servername === undefined ? {} : { servername };
  if (Object.keys(files).length === 0) return name;
  const current = new CurrentContext(files);
  return {
    ...name,
    get secureContext() {
      return current.get();
    },
  };
}

/** Returns an agent for HTTPS with the options of {@link tlsOptions}. */
export class TlsAgent extends Agent {
  readonly #tls: ConnectionOptions;

  constructor(tls: ConnectionOptions, options: AgentOptions) {
    super(options);
    this.#tls = tls;
  }

  override createConnection(options: object, ...rest: never[]) {
    return super.createConnection(Object.assign({}, options, this.#tls), ...rest);
  }
}

/**
 * Returns the problems of the TLS settings. @param usesTls - whether an engine's connections use TLS,
 * undefined: it is not set.
 */
export function tlsSettingProblems(
  config: TlsConfig,
  usesTls: Record<TlsEngine, boolean | undefined>,
): string[] {
  return tlsEngines.flatMap((engine) => {
    const prefix = `${engine}_TLS_`;
    const set = Object.keys(meanings).filter(
      (part) => config[`${prefix}${part}` as TlsVariable] !== undefined,
    );
    const [first] = set;
    if (first === undefined) return [];
    if (usesTls[engine] === false) {
      const how = engine === 'KAFKA' ? 'KAFKA_TLS is not' : `${engine}_URL is no address of TLS`;
      return [`${prefix}${first} is set and ${how}: nothing would be encrypted`];
    }
    if (set.includes('CERT') !== set.includes('KEY'))
      return [`${prefix}CERT and ${prefix}KEY go together: set both or none`];
    try {
      readContext(filesOf(config, engine));
      return [];
    } catch (error) {
      return [`${prefix}… : ${messageOf(error)}`];
    }
  });
}

type Files = Partial<Record<'CA' | 'CERT' | 'KEY', string>>;

function filesOf(config: TlsConfig, engine: TlsEngine): Files {
  return Object.fromEntries(
    (['CA', 'CERT', 'KEY'] as const).flatMap((part) => {
      const file = config[`${engine}_TLS_${part}`];
      return file === undefined ? [] : [[part, file]];
    }),
  );
}

/** @throws MillraceError `TLS_FILES_INVALID` that names the file. */
function readContext({ CA, CERT, KEY }: Files): SecureContext {
  const ca = CA === undefined ? undefined : readPem(CA, (pem) => new X509Certificate(pem));
  const cert = CERT === undefined ? undefined : readPem(CERT, (pem) => new X509Certificate(pem));
  const key = KEY === undefined ? undefined : readPem(KEY, (pem) => createPrivateKey(pem));
  if (
    cert !== undefined &&
    key !== undefined &&
    !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
  )
    throw invalid(`${KEY} is not the key of the certificate in ${CERT}`);
  return createSecureContext({ ca, cert, key });
}

function readPem(file: string, parse: (pem: Buffer) => unknown): Buffer {
  let pem: Buffer;
  try {
    pem = readFileSync(file);
  } catch (error) {
    throw invalid(`${JSON.stringify(file)}: there is no such file to read (${messageOf(error)})`);
  }
  try {
    parse(pem);
    return pem;
  } catch {
    throw invalid(`${JSON.stringify(file)} is no PEM file of that kind, without a passphrase`);
  }
}

function invalid(problem: string): MillraceError {
  return new MillraceError('TLS_FILES_INVALID', problem);
}

class CurrentContext {
  readonly #files: Files;
  #version = '';
  #context: SecureContext | undefined;

  constructor(files: Files) {
    this.#files = files;
  }

  get(): SecureContext {
    const version = Object.values(this.#files).map(fileVersion).join('\n');
    if (this.#context !== undefined && version === this.#version) return this.#context;
    try {
      this.#context = readContext(this.#files);
      this.#version = version;
    } catch (error) {
      // Perhaps in the middle of a change: the next connection reads them again.
      if (this.#context === undefined) throw error;
    }
    return this.#context;
  }
}
