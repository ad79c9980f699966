import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Copies a number of records from one topic to another, with the offsets in the same transaction, and ends it by:
 * {@code commit}, {@code abort}, or {@code fence}, where a second producer with the same transactional id takes over
 * before the commit. Prints the outcome.
 *
 * <p>Arguments: brokers, source topic, target topic, count, ending.
 */
public final class TransactionalCopy {
    public static void main(String[] args) {
        String source = args[1];
        String target = args[2];
        int count = Integer.parseInt(args[3]);
        String ending = args[4];
        Map<String, Object> consumerSettings = Map.of(
                "bootstrap.servers", args[0],
                "group.id", target + "-group",
                "isolation.level", "read_committed",
                "enable.auto.commit", "false",
                "auto.offset.reset", "earliest",
                "max.poll.records", Integer.toString(count));
        Map<String, Object> producerSettings =
                Map.of("bootstrap.servers", args[0], "transactional.id", target + "-copy");
        try (var consumer = new KafkaConsumer<>(consumerSettings, new StringDeserializer(), new StringDeserializer());
                var producer = new KafkaProducer<>(producerSettings, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            consumer.subscribe(List.of(source));
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            producer.beginTransaction();
            for (int copied = 0; copied < count; ) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    if (copied++ >= count) break;
                    producer.send(new ProducerRecord<>(target, record.key(), record.value()));
                    offsets.put(
                            new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                }
            }
            producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
            switch (ending) {
                case "commit" -> producer.commitTransaction();
                case "abort" -> producer.abortTransaction();
                case "fence" -> {
                    try (var successor =
                            new KafkaProducer<>(producerSettings, new StringSerializer(), new StringSerializer())) {
                        successor.initTransactions();
                    }
                    try {
                        producer.commitTransaction();
                    } catch (ProducerFencedException expected) {
                        System.out.println("fenced");
                        return;
                    }
                }
                default -> throw new IllegalArgumentException(ending);
            }
            System.out.println(ending);
        }
    }

    private TransactionalCopy() {}
}
