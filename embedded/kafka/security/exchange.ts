/** One step of a SASL exchange: the client's token in, what becomes of the exchange out. */
export type SaslStep = (token: Buffer) => Promise<SaslProgress>;

export type SaslProgress =
  | { kind: 'continue'; answer: Buffer; next: SaslStep }
  | { kind: 'authenticated'; answer: Buffer }
  /** Says no more than that: neither which of name and password was wrong, nor what they were. */
  | { kind: 'failed' };

export const failed: SaslProgress = { kind: 'failed' };
