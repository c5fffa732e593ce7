"""Guards of the broker on Kafka, most of them what aiokafka needs to keep what Kafka promises; and what a start checks."""

from tests.mutants.guard import Mutant, mutant

KAFKA = "brokers/kafka/"
CONTRACT = "tests/kafka/test_contract.py::TestKafka::test_"
TRANSACTIONS = "tests/kafka/test_transactions.py::test_"
CHECKS = "tests/kafka/test_checks.py::test_"
TOOLS = "tests/kafka/test_tools.py::test_"
WATCHDOG = "tests/kafka/test_watchdog.py::test_"
SECURITY = "tests/kafka/test_security.py::test_"
CONNECT = "tests/brokers/test_connect.py::test_"
OFFSETS = "tests/runtime/test_offsets.py::test_"
HEALTH = "tests/runtime/test_health.py::test_"


def kafka(guard: str, file: str, text: str, instead: str, *tests: str) -> Mutant:
    """A mutant of the broker on Kafka, whose tests need one."""
    return mutant(f"kafka: {guard}", KAFKA + file, text, instead, *tests)._replace(seconds=25)


MUTANTS = [
    # A transaction: by its owner only, and all of it.
    kafka(
        "one transactional id a task",
        "__init__.py",
        'transactional_id=f"{app}.{task}"',
        'transactional_id=f"{app}.{task}.{instance}"',
        f"{TRANSACTIONS}who_is_fenced_is_told_by_whom",
    ),
    kafka(
        "tasks do not fence each other",
        "__init__.py",
        'transactional_id=f"{app}.{task}"',
        'transactional_id=f"{app}"',
        f"{TRANSACTIONS}who_is_fenced_is_told_by_whom",
    ),
    kafka(
        "who is fenced is told so",
        "faults.py",
        "FENCED = (errors.ProducerFenced, errors.InvalidProducerEpoch, errors.InvalidProducerIdMapping)",
        "FENCED: tuple[type[Exception], ...] = ()",
        f"{TRANSACTIONS}who_is_fenced_is_told_by_whom",
    ),
    kafka(
        "a refused batch refuses the commit (K1)",
        "tasks.py",
        "            raise error\n",
        "            pass\n",
        f"{TRANSACTIONS}a_commit_of_which_a_record_is_refused_leaves_nothing",
    ),
    kafka(
        "a handle is over after an error (K2)",
        "tasks.py",
        "            self._over = await self._judged(error)\n            raise self._over() from error\n",
        "            raise (await self._judged(error))() from error\n",
        f"{TRANSACTIONS}after_a_refused_commit_the_handle_commits_nothing_more",
    ),
    kafka(
        "a handle is over when it is cancelled (K7)",
        "tasks.py",
        '            self._over = lambda: unknown(self._where, "it was cancelled")\n            await self._close()\n',
        "",
        f"{TRANSACTIONS}a_commit_that_is_cancelled_is_in_doubt",
    ),
    kafka(
        "a commit has a deadline (K6)",
        "tasks.py",
        "await asyncio.wait_for(self._transact(shares, commit.offsets), _DEADLINE)",
        "await self._transact(shares, commit.offsets)",
        f"{WATCHDOG}a_commit_whose_producer_sends_no_more_is_in_doubt",
    ),
    kafka(
        "what cannot be known is in doubt (R3)",
        "tasks.py",
        "elif self._ending or isinstance(cause, UNKNOWN) or not isinstance(cause, errors.KafkaError):",
        "elif self._ending:",
        f"{WATCHDOG}a_commit_whose_producer_sends_no_more_is_in_doubt",
    ),
    kafka(
        "an error at the end leaves in doubt",
        "tasks.py",
        "        self._ending = True\n",
        "",
        "tests/kafka/test_replies.py::test_a_commit_whose_answer_was_lost_is_not_said_to_have_written_nothing",
    ),
    kafka(
        "offsets in the transaction",
        "tasks.py",
        "            await producer.send_offsets_to_transaction(next_ones, self.app)\n",
        "            pass\n",
        f"{CONTRACT}a_commit_writes_outputs_puts_and_offsets",
    ),
    kafka(
        "tables in the transaction",
        "tasks.py",
        "        shares += [share for table, puts in",
        "        [share for table, puts in",
        f"{CONTRACT}a_commit_writes_outputs_puts_and_offsets",
    ),
    kafka(
        "a producer is renewed in time (K3)",
        "writing.py",
        "return max(self._records.values(), default=0) >= _MOST",
        "return False",
        f"{WATCHDOG}a_producer_is_renewed_before_it_numbers_its_records_wrongly",
    ),
    kafka(
        "the client does not forget topics",
        "writing.py",
        "    await client.client.add_topic(topic)\n",
        "",
        "tests/kafka/test_replies.py::test_the_client_does_not_forget_a_topic_s_leader_as_it_learns_of_another",
    ),
    kafka(
        "a commit of nothing asks the broker",
        "tasks.py",
        "if not shares and not commit.offsets:",
        "if False:",
        f"{CONTRACT}a_fenced_commit_of_nothing_is_refused_too",
    ),
    kafka(
        "an id that was forgotten is nobody else's",
        "tasks.py",
        "newer = await self._broker._newer(self) if isinstance(cause, FENCED) else None",
        "newer = self.instance if isinstance(cause, FENCED) else None",
        "tests/kafka/test_fencing.py::test_an_id_that_the_broker_has_forgotten_is_not_another_instance",
    ),
    kafka(
        "a batch that waits is given up with the others",
        "writing.py",
        "        for _, future in sent:\n            future.cancel()\n        raise\n",
        "        await asyncio.gather(*(future for _, future in sent), return_exceptions=True)\n        raise\n",
        f"{WATCHDOG}a_commit_whose_producer_sends_no_more_is_in_doubt",
    ),
    # Appends.
    kafka(
        "a producer that failed is not used again (K2)",
        "writing.py",
        "                if not found or first_error(chain(*found)) is not None:\n                    self._drop(client)",
        "                if False:\n                    self._drop(client)",
        f"{TRANSACTIONS}after_a_refused_append_others_are_made",
    ),
    kafka(
        "what was written is not appended again",
        "writing.py",
        "if len(calls) > 1 and all(map(_is_definite, mine)):",
        "if len(calls) > 1 and any(map(_is_definite, outcomes)):",
        f"{TRANSACTIONS}after_a_refused_append_others_are_made",
    ),
    kafka(
        "who is not at fault does not fail",
        "writing.py",
        "if len(calls) > 1 and all(map(_is_definite, mine)):",
        "if False:",
        f"{TRANSACTIONS}after_a_refused_append_others_are_made",
    ),
    kafka(
        "an append has a deadline (K5)",
        "writing.py",
        "found = await asyncio.wait_for(sending, _DEADLINE)",
        "found = await sending",
        f"{WATCHDOG}appends_get_another_producer_when_the_last_sends_no_more",
    ),
    kafka(
        "batches no larger than a topic takes",
        "writing.py",
        "min(BATCH, self.limit)",
        "BATCH",
        f"{CHECKS}batches_and_state_are_no_larger_than_a_topic_takes",
    ),
    kafka(
        "the partition of a key",
        "partitioning.py",
        "& 0x7FFFFFFF",
        "& 0x3FFFFFFF",
        f"{TOOLS}keys_go_to_the_partitions_that_java_chooses",
    ),
    kafka(
        "a producer is closed by its last user",
        "writing.py",
        "        if self._producer is client:\n            self._producer = None\n",
        "        if self._producer is client:\n            self._producer = None\n"
        "        self._closing = asyncio.ensure_future(close(client))\n",
        f"{TRANSACTIONS}appends_beside_a_refused_one_to_another_topic_are_made",
    ),
    # Reading.
    kafka(
        "aborted records are not read",
        "reading.py",
        '"isolation_level": "read_committed"',
        '"isolation_level": "read_uncommitted"',
        f"{TOOLS}what_others_have_compressed_is_read",
    ),
    kafka(
        "aborted records are not read, from batches",
        "batches.py",
        "return bool(batch.is_transactional and batch.producer_id in records._aborted_producers)",
        "return False",
        f"{TOOLS}what_others_have_compressed_is_read",
    ),
    kafka(
        "an abort's end is noted",
        "batches.py",
        "        records._aborted_producers.discard(batch.producer_id)\n",
        "        pass\n",
        f"{TOOLS}what_others_have_compressed_is_read",
    ),
    kafka(
        "after an error all partitions are read again (K8)",
        "reading.py",
        "            for one in parts:\n                source.client.seek(one.where, one.after)\n",
        "",
        f"{TRANSACTIONS}what_was_fetched_beside_a_partition_that_fails_is_not_lost",
    ),
    kafka(
        "a client that fetches no more is given up (K20)",
        "reading.py",
        "now() > until or fetcher_is_dead(source.client)",
        "False",
        f"{WATCHDOG}a_reader_whose_client_fetches_no_more_is_given_another",
    ),
    kafka(
        "a client that reaches nobody is given up (K19)",
        "cluster.py",
        "            if isinstance(error.__cause__, AWAY):\n                await self._drop(client)\n",
        "",
        f"{WATCHDOG}a_client_that_cannot_reach_the_brokers_is_made_anew",
    ),
    kafka(
        "a topic that was made anew is noticed",
        "reading.py",
        "            if one.after > end:\n",
        "            if False:\n",
        f"{CHECKS}a_topic_that_is_made_anew_while_it_is_read_ends_the_run",
    ),
    kafka(
        "what is forbidden is said at once",
        "cluster.py",
        "            if issubclass(kind, FORBIDDEN):\n",
        "            if False:\n",
        f"{SECURITY}what_the_user_may_not_do_is_said_at_once",
    ),
    # What a start checks.
    kafka("create=no", "cluster.py", "and not self._create:", "and False:", f"{CHECKS}with_create_no_a_missing_topic_is_refused"),
    kafka(
        "tables that are not compacted",
        "cluster.py",
        "                await self._check_compacted(topic)\n",
        "                pass\n",
        f"{CHECKS}a_table_that_kafka_would_empty_is_refused",
    ),
    kafka(
        "clocks that differ",
        "__init__.py",
        "if stamps and not before",
        "if False and not before",
        f"{CHECKS}clocks_that_differ_are_told",
    ),
    kafka(
        "a topic's limit is asked for",
        "__init__.py",
        "return await self._cluster.limit(topic, anew=True) - _OVERHEAD",
        "return None",
        f"{CHECKS}a_record_too_large_for_its_topic_meets_the_policy",
    ),
    kafka(
        "tables in small segments",
        "tasks.py",
        '    "segment.bytes": "33554432",\n',
        "",
        f"{CHECKS}topics_are_made_as_was_said",
    ),
    # Secrets.
    kafka(
        "no log has the password",
        "faults.py",
        "return record.levelno >= logging.INFO",
        "return True",
        f"{SECURITY}the_client_would_tell_the_password_at_debug",
    ),
    kafka(
        "no repr has the password",
        "security.py",
        "    password: str | None = field(default=None, repr=False)\n",
        "    password: str | None = None\n",
        f"{CONNECT}kafka_s_security_is_read_from_url_and_environment",
    ),
    kafka(
        "no password in the clear",
        "security.py",
        "and not self.allow_plaintext_password:",
        "and False:",
        f"{CONNECT}connect_refuses_what_it_does_not_know",
    ),
    mutant(
        "no message has the password",
        "brokers/__init__.py",
        're.sub(r"//.*@", "//…@", url)',
        "url",
        f"{CONNECT}a_password_is_in_no_message",
    ),
    # Where a task goes on, and how it fares; on the memory broker.
    mutant(
        "offsets that somebody has set",
        "runtime/offsets.py",
        "if ours.get(where) != offset}",
        "if False}",
        f"{OFFSETS}offsets_that_somebody_has_set_stop_the_start",
    ),
    mutant(
        "offsets that are not seen yet",
        "runtime/offsets.py",
        "if not apart or now() > until:",
        "if True:",
        f"{OFFSETS}what_was_committed_just_now_may_not_be_seen_yet",
    ),
    mutant(
        "state is dropped if asked",
        "runtime/task.py",
        "            position = None\n        await",
        "        await",
        f"{OFFSETS}an_operator_says_what_to_go_by",
    ),
    mutant(
        "dropped state stays dropped",
        "runtime/task.py",
        "            await self.handle.commit(Commit(puts=[Put(self.table, key, None) for key, _ in rows]))\n",
        "",
        f"{OFFSETS}state_that_is_dropped_is_deleted",
    ),
    mutant(
        "records that are gone",
        "runtime/offsets.py",
        'if lost and offsets != "earliest":',
        "if False:",
        f"{OFFSETS}records_that_are_gone_stop_the_start",
    ),
    mutant(
        "partitions that are gone",
        "runtime/offsets.py",
        "if max(at) >= len(starts):",
        "if False:",
        f"{OFFSETS}partitions_that_are_gone_stop_the_start",
    ),
    mutant(
        "a run that is stalled",
        "runtime/task.py",
        "            if waiting:\n",
        "            if False:\n",
        f"{HEALTH}a_run_that_makes_no_progress_while_records_wait_begins_anew",
    ),
    mutant(
        "offsets are committed once a day",
        "runtime/task.py",
        "            offsets, self.committed_at = self._offsets(), now\n",
        "            pass\n",
        f"{HEALTH}an_idle_run_commits_its_offsets_once_a_day",
    ),
    mutant(
        "a run that is idle",
        "runtime/task.py",
        "            if waiting:\n",
        "            if True:\n",
        f"{HEALTH}an_idle_run_is_not_stalled",
    ),
    mutant(
        "restarts are bounded",
        "runtime/running.py",
        "if restarts > RESTARTS or",
        "if",
        f"{HEALTH}a_run_that_begins_anew_says_why_and_at_last_fails",
    ),
]
