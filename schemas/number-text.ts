/**
 * Numbers as people of some countries write them: with separators between thousands, or a comma before the
 * decimals.
 */
const localNumber = /^[+-]?\d[\d.,'’\u00a0\u202f ]*$/;

/**
 * Whether a text such as `90.000` may be ninety or ninety thousand: many countries write points between
 * thousands. `0.125` and `1234.567` can only be decimals.
 */
export function isAmbiguousNumber(text: string): boolean {
  return /^\s*[+-]?[1-9]\d{0,2}\.\d{3}\s*$/.test(text);
}

/** What to say of a text where a number is wanted, after what it must be; empty if nothing is known of it. */
export function numberHint(value: unknown): string {
  if (typeof value !== 'string' || value.length > 40) return '';
  const text = value.trim();
  if (isAmbiguousNumber(text)) {
    const [thousands, decimals] = [text.replace('.', ''), `${Number(text)}`];
    return `, and is '${text}', which may be ${thousands} or ${decimals}: write ${thousands} or ${decimals.includes('.') ? `${decimals}0` : `${decimals}.0`}`;
  }
  if (!localNumber.test(text) || !/[^\d.+-]|\..*\./.test(text)) return '';
  return `, and is '${text}': write it with a point before the decimals and nothing between thousands, such as 90000.00`;
}
