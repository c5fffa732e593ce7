import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/** K2 in Kafka Streams, until it is terminated: K2 BOOTSTRAP IN OUT FOLDER. Exactly once, commits every 100 ms, state in memory and in a changelog. */
public class K2 {
  static final ObjectMapper JSON = new ObjectMapper();
  static final Duration WINDOW = Duration.ofSeconds(60), DISORDER = Duration.ofSeconds(2);

  @JsonIgnoreProperties(ignoreUnknown = true)
  public static class Order {
    public String user_id;
    public double amount;
    public long timestamp;
  }

  public record Written(String user_id, long start, long count, double revenue) {}

  record Total(long count, double revenue) {}

  static <T> Serde<T> json(Class<T> type) {
    ObjectReader reader = JSON.readerFor(type);
    ObjectWriter writer = JSON.writerFor(type);
    return Serdes.serdeFrom(
        (topic, value) -> {
          try {
            return value == null ? null : writer.writeValueAsBytes(value);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        },
        (topic, bytes) -> {
          try {
            return bytes == null ? null : reader.readValue(bytes);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        });
  }

  static Serde<Total> totals() {
    return Serdes.serdeFrom(
        (topic, total) ->
            total == null ? null : ByteBuffer.allocate(16).putLong(total.count).putDouble(total.revenue).array(),
        (topic, bytes) -> {
          if (bytes == null) return null;
          ByteBuffer buffer = ByteBuffer.wrap(bytes);
          return new Total(buffer.getLong(), buffer.getDouble());
        });
  }

  static Properties settings(String bootstrap, String sink, String folder) {
    Properties settings = new Properties();
    settings.put("application.id", "streams-" + sink);
    settings.put("bootstrap.servers", bootstrap);
    settings.put("processing.guarantee", "exactly_once_v2");
    settings.put("commit.interval.ms", 100);
    settings.put("num.stream.threads", 1);
    settings.put("auto.offset.reset", "earliest");
    settings.put("replication.factor", 1);
    settings.put("state.dir", folder);
    return settings;
  }

  public static void main(String[] arguments) {
    String bootstrap = arguments[0], source = arguments[1], sink = arguments[2], folder = arguments[3];
    StreamsBuilder builder = new StreamsBuilder();
    builder
        .stream(
            source,
            Consumed.with(Serdes.String(), json(Order.class))
                .withTimestampExtractor((record, before) -> ((Order) record.value()).timestamp))
        .groupByKey(Grouped.with(Serdes.String(), json(Order.class)))
        .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, DISORDER))
        .aggregate(
            () -> new Total(0, 0),
            (user, order, total) -> new Total(total.count + 1, total.revenue + order.amount),
            Materialized.<String, Total>as(
                    Stores.inMemoryWindowStore("totals", WINDOW.plus(DISORDER).plusMinutes(1), WINDOW, false))
                .withKeySerde(Serdes.String())
                .withValueSerde(totals()))
        .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
        .toStream()
        .map(
            (user, total) ->
                KeyValue.pair(
                    user.key(),
                    new Written(
                        user.key(), user.window().start(), total.count, Math.round(total.revenue * 100) / 100.0)))
        .to(sink, Produced.with(Serdes.String(), json(Written.class)));
    KafkaStreams streams = new KafkaStreams(builder.build(), settings(bootstrap, sink, folder));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
  }
}
