import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends a record in a transaction, which must time out at this producer, aborts, and sends again. Between the two, the
 * producer asks for a higher epoch, because it can't know the outcome of the first record (KIP-360).
 *
 * <p>Arguments: brokers, topic.
 */
public final class EpochBump {
    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", args[0],
                "transactional.id", args[1] + "-producer",
                "request.timeout.ms", "3000",
                "delivery.timeout.ms", "6000",
                "linger.ms", "0");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            try {
                producer.send(new ProducerRecord<>(args[1], "lost")).get();
                throw new IllegalStateException("The first record did not time out.");
            } catch (ExecutionException failed) {
                if (!(failed.getCause() instanceof TimeoutException)) throw failed;
            }
            awaitAbortable(producer, args[1]);
            System.out.println("timed out");
            producer.abortTransaction();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(args[1], "kept")).get();
            producer.commitTransaction();
            System.out.println("committed");
        }
    }

    /** The future fails a moment before the producer notices; the producer can not continue after an abort in between. */
    private static void awaitAbortable(KafkaProducer<String, String> producer, String topic) {
        while (true) {
            try {
                producer.send(new ProducerRecord<>(topic, "lost too"));
            } catch (KafkaException noted) {
                return;
            }
        }
    }

    private EpochBump() {}
}
