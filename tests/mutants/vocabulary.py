"""Guards of the operators that hold records, of demand, and of foreign operators."""

from tests.mutants.guard import mutant

WORDS = "tests/operators/test_vocabulary.py::test_"
STATE = "tests/operators/test_state.py::test_restored_state_is_the_state_before"
FOREIGN = "tests/stream/test_in_a_run.py::test_"
MERGING = "tests/aggregates/test_merging.py::test_"

MUTANTS = [
    mutant(
        "dirty tracking: pairwise",
        "operators/neighbours.py",
        "self.states[None] = (values[-1], times[-1] if times else None)\n        self.dirty.add(None)\n",
        "self.states[None] = (values[-1], times[-1] if times else None)\n",
        f"{STATE}[pairwise]",
    ),
    mutant(
        "dirty tracking: what is held",
        "operators/holding.py",
        "        self.states[state] = value\n        self.dirty.add(state)\n",
        "        self.states[state] = value\n",
        f"{STATE}[debounce]",
    ),
    mutant(
        "dirty tracking: zip",
        "operators/lining.py",
        "column[number - first], self.times[port][number - first]\n                self.dirty.add((port, number))\n",
        "column[number - first], self.times[port][number - first]\n",
        f"{STATE}[zip]",
    ),
    mutant(
        "dirty tracking: totals",
        "operators/totals.py",
        "        self.states[None] = fold\n        self.dirty.add(None)\n",
        "        self.states[None] = fold\n",
        f"{STATE}[sum]",
    ),
    mutant(
        "what is delayed is restored",
        "operators/delaying.py",
        "        if self.queue:\n            self.wait()\n\n    def now",
        "\n    def now",
        f"{WORDS}what_was_delayed_comes_after_a_restart_at_its_time",
    ),
    mutant(
        "a debounced value is restored",
        "operators/timing.py",
        '        if "due" in self.states:\n            self.wait(self.states["due"] - self.host.now())\n',
        "",
        f"{WORDS}a_debounced_value_comes_once_after_a_restart",
    ),
    mutant(
        "first values come once",
        "operators/lining.py",
        "if self.host.durable and not self.states:",
        "if self.host.durable:",
        f"{WORDS}start_with_begins_once",
    ),
    mutant(
        "what is held holds the watermark",
        "operators/holding.py",
        "limit = min(mark, self.least())",
        "limit = mark",
        f"{WORDS}results_that_are_held_hold_the_watermark",
    ),
    mutant(
        "a predicate is not called beyond the end",
        "operators/taking.py",
        "next(filter(None, tests) if sought else filterfalse(None, tests), LOST) is not LOST",
        "any([test for test in tests if bool(test) == sought])",
        f"{WORDS}a_predicate_is_not_called_beyond_the_end",
    ),
    mutant(
        "a run waits for what is due",
        "runtime/graph.py",
        "return bool(self.timers) and all(",
        "return False and all(",
        f"{WORDS}a_run_waits_for_what_is_due_after_its_input_has_ended",
    ),
    mutant(
        "dirty tracking: event time",
        "operators/timestamps.py",
        "            self.states[None] = self.times.now\n            self.dirty.add(None)\n",
        "            self.states[None] = self.times.now\n",
        "tests/operators/test_event_time.py::test_time_does_not_go_back_after_a_restart",
    ),
    mutant(
        "the source's time ends where event time begins anew",
        "operators/timestamps.py",
        '        """What time the input has is not ours."""\n',
        "        self.forward(mark)\n",
        "tests/operators/test_event_time.py::test_times_and_watermarks_are_the_operators_own",
    ),
    mutant(
        "timers fire by the clock that they are set by",
        "runtime/vertices.py",
        "if (not self.inputs or self.node.makes_time) and self.graph.timed:",
        "if not self.inputs and self.graph.timed:",
        "tests/laws/test_batching.py::test_cuts_do_not_show_in_hard_places[_time_anew]",
    ),
    mutant(
        "the limit of state",
        "runtime/limits.py",
        "    if size > limit:\n",
        "    if False:\n",
        "tests/runtime/test_run.py::test_state_that_outgrows_its_limit_stops_the_run_before_its_commit",
    ),
    # Demand, and foreign operators.
    mutant(
        "the room of zip",
        "operators/lining.py",
        "return self.capacity - len(self.waiting[port])",
        "return UNBOUNDED",
        f"{WORDS}zip_asks_less_of_its_faster_input",
    ),
    mutant(
        "a ring of waiting nodes gives way",
        "runtime/demand.py",
        "        if any(rooms.values()) or any(isinstance(edge.node, Edge) and edge.node.moving for edge in self._edges):\n"
        "            return rooms\n",
        "        return rooms\n",
        f"{WORDS}zips_that_wait_for_each_other_do_not_stop_for_ever",
    ),
    mutant(
        "concat waits for its turn",
        "operators/lining.py",
        "return UNBOUNDED if port <= self.turn else 0",
        "return UNBOUNDED",
        f"{WORDS}concat_does_not_read_a_source_before_its_turn",
    ),
    mutant(
        "foreign operators subscribe again",
        "runtime/opaque.py",
        "                self.outlets[port].append(outlet)\n",
        "",
        f"{FOREIGN}foreign_operators_that_subscribe_again_go_on_with_the_next_record",
    ),
    mutant(
        "foreign operators' actions come in their place",
        "runtime/opaque.py",
        "        if self.beginning or self.at_work():\n",
        "        if self.beginning:\n",
        f"{FOREIGN}what_foreign_operators_schedule_at_once_comes_before_the_next_record",
    ),
    mutant(
        "foreign sources keep their values until the run",
        "runtime/opaque.py",
        "if self.asked and not self.outlets and _leads_to_a_stream(foreign):",
        "if self.asked and not self.outlets:",
        f"{FOREIGN}what_subscribes_by_the_scheduler_shows_its_upstream_and_sources_keep_their_values",
    ),
    # Aggregates.
    mutant(
        "compensation of exact sums",
        "aggregates/numeric.py",
        'f"t{at + 1} = row[{at + 1}] + ((s - t{at}) + {x} if abs(s) >= abs({x}) else ({x} - t{at}) + s)"',
        'f"t{at + 1} = row[{at + 1}]"',
        f"{MERGING}exact_sums_do_not_depend_on_the_order",
    ),
    mutant(
        "compensation in merged sums",
        "aggregates/numeric.py",
        "        row[at + 1] += other[at + 1]\n\n    def result",
        "\n    def result",
        f"{MERGING}exact_sums_do_not_depend_on_the_order",
    ),
    mutant(
        "results are not the list that grows",
        "aggregates/keeping.py",
        "return list(row[at] or ())",
        "return row[at] or []",
        f"{MERGING}a_result_is_not_changed_by_later_values",
    ),
]
