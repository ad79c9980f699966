import type { Contract } from '../../schemas/contracts.js';
import { eventSchema, fieldErrors, InvalidEvent } from '../../schemas/event-schema.js';
import type { Outcome } from '../../schemas/types.js';
import { jsonObject } from '../../streams/json-value.js';
import type { Serde } from '../../streams/serde.js';

/**
 * Returns a reader of the values of `<pipeline>.outcomes`: Avro, or JSON that fits the contract.
 *
 * @returns a function that fails, by an error or a rejected promise, with the errors of `Serde.decode`,
 *   `JSON_INVALID` or `EVENT_INVALID`.
 */
export function outcomeReader(
  serde: Serde,
  contract: Contract,
): (value: Buffer | null) => Outcome | Promise<Outcome> {
  const schema = eventSchema(contract.schema);
  return (value) => {
    const json = jsonObject(value);
    if (json === undefined) return serde.decode(value, contract.type) as Outcome | Promise<Outcome>;
    const parsed = schema.safeParse(json);
    if (!parsed.success) throw new InvalidEvent(fieldErrors(parsed.error));
    return parsed.data as unknown as Outcome;
  };
}
