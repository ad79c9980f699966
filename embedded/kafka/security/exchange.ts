/** One step of a SASL exchange: the client's token in, the state of the exchange out. */
export type SaslStep = (token: Buffer) => Promise<SaslProgress>;

export type SaslProgress =
  | { kind: 'continue'; answer: Buffer; next: SaslStep }
  | { kind: 'authenticated'; answer: Buffer }
  /** Reveals nothing else: neither which of name and password was wrong, nor their values. */
  | { kind: 'failed' };

export const failed: SaslProgress = { kind: 'failed' };
