/** The topic id of a broker that has none (KIP-516): clients go by the name. */
export const noTopicId = '0'.repeat(32);
