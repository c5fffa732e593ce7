"""Speed on a real Kafka: against hand-written loops and Kafka Streams; ``python -m benchmarks.kafka`` prints the table."""
