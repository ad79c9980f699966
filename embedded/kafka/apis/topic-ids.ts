/** The topic id of a broker without topic ids (KIP-516): clients use the name. */
export const noTopicId = '0'.repeat(32);
