/** Whether a routing key matches a binding to a topic exchange: `*` is one word, `#` none or more. */
export function matchesPattern(pattern: string, routingKey: string): boolean {
  return matchWords(pattern.split('.'), routingKey.split('.'));
}

function matchWords(pattern: readonly string[], key: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return key.length === 0;
  if (first === '#') return key.some((_, at) => matchWords(rest, key.slice(at))) || matchWords(rest, []);
  return key.length > 0 && (first === '*' || first === key[0]) && matchWords(rest, key.slice(1));
}
