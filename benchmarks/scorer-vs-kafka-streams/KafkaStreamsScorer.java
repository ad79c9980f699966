import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/**
 * Scores credit-default events with Kafka Streams and ONNX Runtime, exactly once, and writes the same predictions as
 * Millrace. What can be made once is made once: session, tensors, decoder, encoder and the records.
 *
 * <p>Settings are environment variables: see bench-scorers.ts.
 */
public final class KafkaStreamsScorer {
    private static final byte[] ID_NAMESPACE = HexFormat.of().parseHex("6c234070236f4a538625b11280d55c63");
    private static final int WIRE_HEADER = 5;
    /** Fields of the newest contract of predictions that are the same for each of them. */
    private static final long NO_MODEL_EVENT = -1;

    public static void main(String[] args) throws Exception {
        Model model = new Model();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, setting("GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, setting("BROKERS"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, setting("STATE"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, setting("COMMIT_INTERVAL_MS"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, setting("THREADS"));
        // As its documentation advises for throughput; linger.ms is 100 in Kafka Streams, acks=all follows from the
        // guarantee, and a commit flushes.
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(setting("EVENTS"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(() -> new Scoring(model))
                .to(setting("PREDICTIONS"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static String setting(String name) {
        return System.getenv(name);
    }

    /** What all threads share. */
    private static final class Model {
        final OrtEnvironment environment = OrtEnvironment.getEnvironment();
        final OrtSession session;
        final Schema eventSchema = new Schema.Parser().parse(new File(setting("EVENT_SCHEMA")));
        final Schema predictionSchema = new Schema.Parser().parse(new File(setting("PREDICTION_SCHEMA")));
        final int predictionSchemaId = Integer.parseInt(setting("PREDICTION_SCHEMA_ID"));
        final int eventSchemaId = Integer.parseInt(setting("EVENT_SCHEMA_ID"));
        final JsonNode card = new ObjectMapper().readTree(new File(setting("MODEL_CARD")));
        final String digest = setting("MODEL_DIGEST");

        Model() throws OrtException, IOException {
            OrtSession.SessionOptions options = new OrtSession.SessionOptions();
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            session = environment.createSession(setting("MODEL"), options);
        }
    }

    /** Scores the records of one partition, one after the other. */
    private static final class Scoring implements Processor<byte[], byte[], byte[], byte[]> {
        private final Model model;
        private final GenericDatumReader<GenericRecord> reader;
        private final GenericDatumWriter<GenericRecord> writer;
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1024);
        private final List<String> names;
        private final FloatBuffer row;
        private final FloatBuffer probability = floats(1);
        private final OnnxTensor input;
        private final Map<String, OnnxTensor> inputs;
        private final Map<String, OnnxTensor> outputs;
        private final GenericRecord prediction;
        private final MessageDigest sha1;
        private final byte[] idPrefix;
        private final StringBuilder json = new StringBuilder(512);
        private final double threshold;
        private final String below;
        private final String above;
        private final String outputName;
        private BinaryDecoder decoder;
        private BinaryEncoder encoder;
        private GenericRecord event;
        private ProcessorContext<byte[], byte[]> context;

        Scoring(Model model) {
            this.model = model;
            reader = new GenericDatumReader<>(model.eventSchema);
            writer = new GenericDatumWriter<>(model.predictionSchema);
            names = model.eventSchema.getFields().stream().map(Schema.Field::name).toList();
            row = floats(names.size());
            JsonNode output = model.card.get("output");
            outputName = output.get("name").textValue();
            threshold = output.get("decision").get("threshold").doubleValue();
            below = output.get("decision").get("below").textValue();
            above = output.get("decision").get("at_or_above").textValue();
            JsonNode runtime = model.card.get("runtime");
            try {
                input = OnnxTensor.createTensor(model.environment, row, new long[] {1, names.size()});
                inputs = Map.of(runtime.get("input_tensor").textValue(), input);
                outputs = Map.of(
                        runtime.get("output_tensor").textValue(),
                        OnnxTensor.createTensor(model.environment, probability, new long[] {1}));
                sha1 = MessageDigest.getInstance("SHA-1");
            } catch (OrtException | NoSuchAlgorithmException error) {
                throw new IllegalStateException(error);
            }
            idPrefix = (model.digest + ":").getBytes(StandardCharsets.UTF_8);
            prediction = new GenericData.Record(model.predictionSchema);
            prediction.put("pipeline", "credit-default");
            prediction.put("model", model.card.get("name").textValue());
            prediction.put("model_version", model.card.get("version").textValue());
            prediction.put("model_digest", model.digest);
            prediction.put("schema_id", model.eventSchemaId);
            prediction.put("role", new GenericData.EnumSymbol(model.predictionSchema.getField("role").schema(), "champion"));
            prediction.put("model_event", NO_MODEL_EVENT);
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            String eventId = text(record.headers(), "ce_id");
            read(record.value());
            double score = score();
            long now = System.currentTimeMillis();
            String id = predictionId(eventId);
            RecordMetadata at = context.recordMetadata().orElseThrow();
            prediction.put("prediction_id", id);
            prediction.put("event_id", eventId);
            prediction.put("event_time", record.timestamp());
            prediction.put("predicted_at", now);
            prediction.put("score", score);
            prediction.put("label", score >= threshold ? above : below);
            prediction.put("features", features());
            prediction.put("source", text(record.headers(), "ce_source"));
            prediction.put("topic", at.topic());
            prediction.put("partition", at.partition());
            prediction.put("offset", at.offset());
            prediction.put("latency_ms", (double) Math.max(0, now - record.timestamp()));
            prediction.put("outputs", "{\"" + outputName + "\":" + score + "}");
            context.forward(record.withValue(write()).withHeaders(headers(id, now)));
        }

        private void read(byte[] value) {
            ByteBuffer header = ByteBuffer.wrap(value);
            if (header.get() != 0 || header.getInt() != model.eventSchemaId)
                throw new IllegalStateException("The value does not have the schema of events.");
            decoder = DecoderFactory.get().binaryDecoder(value, WIRE_HEADER, value.length - WIRE_HEADER, decoder);
            try {
                event = reader.read(event, decoder);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private double score() {
            for (int i = 0; i < names.size(); i++) row.put(i, ((Number) event.get(i)).floatValue());
            try (OrtSession.Result ignored = model.session.run(inputs, Set.of(), outputs)) {
                return probability.get(0);
            } catch (OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        /** A UUIDv5. */
        private String predictionId(String eventId) {
            sha1.update(ID_NAMESPACE);
            sha1.update(idPrefix);
            ByteBuffer hash = ByteBuffer.wrap(sha1.digest(eventId.getBytes(StandardCharsets.UTF_8)));
            long high = (hash.getLong() & ~0xf000L) | 0x5000L;
            long low = (hash.getLong() & ~(3L << 62)) | (1L << 63);
            return new UUID(high, low).toString();
        }

        /** The event's fields as JSON, with numbers as JavaScript writes them. */
        private String features() {
            json.setLength(0);
            for (int i = 0; i < names.size(); i++) {
                json.append(i == 0 ? "{\"" : ",\"").append(names.get(i)).append("\":");
                Object value = event.get(i);
                if (value instanceof Double number && number != Math.rint(number)) json.append(number.doubleValue());
                else json.append(((Number) value).longValue());
            }
            return json.append('}').toString();
        }

        private byte[] write() {
            bytes.reset();
            bytes.writeBytes(ByteBuffer.allocate(WIRE_HEADER).put((byte) 0).putInt(model.predictionSchemaId).array());
            encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
            try {
                writer.write(prediction, encoder);
                encoder.flush();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return bytes.toByteArray();
        }

        private static Headers headers(String id, long now) {
            Headers headers = new RecordHeaders();
            add(headers, "ce_specversion", "1.0");
            add(headers, "ce_id", id);
            add(headers, "ce_source", "millrace/credit-default");
            add(headers, "ce_type", "millrace.prediction");
            add(headers, "ce_time", Instant.ofEpochMilli(now).toString());
            return headers;
        }

        private static void add(Headers headers, String name, String value) {
            headers.add(name, value.getBytes(StandardCharsets.UTF_8));
        }

        private static String text(Headers headers, String name) {
            Header header = headers.lastHeader(name);
            return header == null ? "kafka" : new String(header.value(), StandardCharsets.UTF_8);
        }

        private static FloatBuffer floats(int count) {
            return ByteBuffer.allocateDirect(count * Float.BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer();
        }
    }

    private KafkaStreamsScorer() {}
}
