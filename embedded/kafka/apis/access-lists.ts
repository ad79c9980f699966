import type { Reader } from '../protocol/reader.js';

/** The message with SECURITY_DISABLED. */
export const noAccessLists = 'This broker has no access lists: whoever is logged in may do everything.';

/**
 * Skips a filter of DescribeAcls or DeleteAcls.
 *
 *     Filter => resource_type i8 · resource_name nullable · pattern_type i8 (1+) · principal nullable · host nullable
 *               · operation i8 · permission_type i8
 */
export function decodeAclFilter(reader: Reader, version: number): void {
  reader.int8();
  reader.nullableString();
  if (version >= 1) reader.int8();
  reader.nullableString();
  reader.nullableString();
  reader.int8();
  reader.int8();
}
