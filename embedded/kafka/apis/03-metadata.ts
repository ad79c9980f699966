import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { nodeId } from '../services.js';

interface MetadataRequest {
  /** `null` asks for all topics. */
  topics: string[] | null;
  allowAutoCreation: boolean;
}

interface MetadataResponse {
  host: string;
  port: number;
  clusterId: string;
  topics: { name: string; errorCode: number; partitions: number }[];
}

/** The value of the authorized operations when they are not requested, for a server without authorization. */
const operationsNotComputed = -0x8000_0000;

/**
 * Metadata, versions 0–9 (9 flexible). One node, which leads everything; its address is the one that the
 * client connected to, so it is reachable whatever address the broker listens on. Topics that a client names
 * for the first time are created.
 *
 *     Request  => [topic] (null, or in version 0 empty, = all) · allow_auto_topic_creation bool (4+)
 *                 · include_cluster_authorized_operations bool, include_topic_authorized_operations bool (8+)
 *     Response => throttle_time_ms i32 (3+) · [node_id i32 · host · port i32 · rack nullable (1+)]
 *                 · cluster_id nullable (2+) · controller_id i32 (1+)
 *                 · [error_code i16 · name · is_internal bool (1+)
 *                   · [error_code i16 · index i32 · leader_id i32 · leader_epoch i32 (7+) · replicas [i32] · isr [i32]
 *                     · offline [i32] (5+)] · authorized_operations i32 (8+)] · cluster_authorized_operations i32 (8+)
 */
export const metadata = defineApi<MetadataRequest, MetadataResponse>({
  key: 3,
  name: 'Metadata',
  minVersion: 0,
  maxVersion: 9,
  flexibleFrom: 9,

  decode(reader, version) {
    const named = reader.nullableStructs(() => reader.string());
    const topics = version === 0 && named?.length === 0 ? null : named;
    const allowAutoCreation = version >= 4 ? reader.boolean() : true;
    if (version >= 8) {
      reader.boolean();
      reader.boolean();
    }
    return { topics, allowAutoCreation };
  },

  async handle(request, { services, localHost, localPort }) {
    const names = request.topics ?? services.topics.all().map(({ name }) => name);
    const create = request.topics !== null && request.allowAutoCreation && services.autoCreateTopics;
    const topics = await Promise.all(
      [...new Set(names)].map(async (name) => {
        const errorCode = create
          ? await services.topics.ensure(name, services.defaultPartitions)
          : ErrorCode.NONE;
        const topic = services.topics.get(name);
        if (topic !== undefined)
          return { name, errorCode: ErrorCode.NONE, partitions: topic.partitions.length };
        return { name, errorCode: errorCode || ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partitions: 0 };
      }),
    );
    return { host: localHost, port: localPort, clusterId: services.clusterId, topics };
  },

  encode(writer, response, version) {
    if (version >= 3) writer.int32(0);
    writer.structs([response], ({ host, port }) => {
      writer.int32(nodeId);
      writer.string(host);
      writer.int32(port);
      if (version >= 1) writer.nullableString(null);
    });
    if (version >= 2) writer.nullableString(response.clusterId);
    if (version >= 1) writer.int32(nodeId);
    writer.structs(response.topics, ({ name, errorCode, partitions }) => {
      writer.int16(errorCode);
      writer.string(name);
      if (version >= 1) writer.boolean(false);
      writer.structs([...Array(partitions).keys()], (index) => {
        writer.int16(ErrorCode.NONE);
        writer.int32(index);
        writer.int32(nodeId);
        if (version >= 7) writer.int32(0);
        writer.array([nodeId], (id) => writer.int32(id));
        writer.array([nodeId], (id) => writer.int32(id));
        if (version >= 5) writer.array([], () => undefined);
      });
      if (version >= 8) writer.int32(operationsNotComputed);
    });
    if (version >= 8) writer.int32(operationsNotComputed);
  },

  refuse: ({ topics }, errorCode) => ({
    host: '',
    port: -1,
    clusterId: '',
    topics: (topics ?? []).map((name) => ({ name, errorCode, partitions: 0 })),
  }),
});
