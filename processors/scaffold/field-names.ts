/**
 * Returns the field names for columns, as Avro allows them: `sepal length (cm)` becomes `sepal_length_cm`.
 *
 * @param columns - the parts of each column's path.
 * @returns paths of fields by column, all different.
 */
export function fieldPathsOf(columns: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const taken = new Set<string>();
  const known = new Map<string, string>();
  // By path and name: fields of one record keep it.
  const fieldOf = (parent: string, name: string): string => {
    const id = `${parent}\0${name}`;
    const before = known.get(id);
    if (before !== undefined) return before;
    const plain = avroName(name);
    let path = `${parent}${plain}`;
    for (let count = 2; taken.has(path); count++) path = `${parent}${plain}_${count}`;
    taken.add(path);
    known.set(id, path);
    return path;
  };
  return new Map(
    Array.from(columns, ([column, [first = '', ...rest]]) => {
      return [column, rest.reduce((path, name) => fieldOf(`${path}.`, name), fieldOf('', first))];
    }),
  );
}

/**
 * Returns the parts of a csv column's path: `customer.age` is a field of a record. A dot inside of a name, as
 * in `length (approx. cm)`, is part of the name.
 */
export function segmentsOf(column: string): string[] {
  const parts = column.split('.');
  return parts.every((part) => /^[\p{L}\p{N}_-]+$/u.test(part)) && !/^\d/.test(parts.at(-1) ?? '')
    ? parts
    : [column];
}

/** Returns a name of letters, digits and underscores that does not begin with a digit. */
export function avroName(text: string): string {
  const plain = text
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/\W+/g, '_')
    .replaceAll(/^_+|_+$/g, '');
  if (plain === '' || plain === 'proto') return 'field';
  return /^\d/.test(plain) ? `_${plain}` : plain;
}

/** Returns a name for a type: `car_price` becomes `CarPrice`. */
export function typeName(text: string): string {
  return avroName(text)
    .split('_')
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join('')
    .replace(/^(?=\d)/, '_');
}
