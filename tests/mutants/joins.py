"""Guards of joins and deduplication: who meets whom, what comes out alone, what is chosen, remembered, saved and freed."""

from tests.mutants.guard import mutant

JOINS = "tests/operators/test_joins.py::test_"
LAWS = "tests/laws/test_join_laws.py::test_"
DEDUP = "tests/operators/test_dedup.py::test_"
DEDUP_LAWS = "tests/laws/test_dedup_laws.py::test_"
BATCHING = "tests/laws/test_batching.py::test_"
ONCE = f"{JOINS}what_comes_out_alone_does_so_once_when_no_partner_can_come"
CRASHES = f"{LAWS}cuts_and_crashes_change_nothing"
FREED = f"{LAWS}all_is_freed_when_time_has_passed"

MUTANTS = [
    # Pairs, and what comes out alone.
    mutant(
        "bounds are inclusive",
        "operators/joins/interval.py",
        "<= other.time - time <= {high}{still}",
        "<= other.time - time < {high}{still}",
        f"{JOINS}bounds_are_inclusive_and_may_be_asymmetric",
    ),
    mutant(
        "who came out alone meets nobody",
        "operators/joins/interval.py",
        '" and other.met < 2" if 1 - port in self.alone else ""',
        '""',
        f"{LAWS}nothing_is_lost_and_nothing_comes_twice",
        f"{JOINS}a_late_record_meets_who_is_still_there_and_is_late_otherwise",
    ),
    mutant(
        "who has met somebody is saved so",
        "operators/joins/interval.py",
        "other.met = 1; {loop.bind(self.sides[1 - port].dirty.add)}(key)",
        "other.met = 1",
        CRASHES,
    ),
    mutant(
        "who came out alone is saved so",
        "operators/joins/interval.py",
        "                    side.dirty.add(key)\n",
        "",
        ONCE,
    ),
    mutant(
        "in time and without a chance is not late",
        "operators/joins/interval.py",
        "        if high < 0:\n",
        "        if high < -9e9:\n",
        f"{JOINS}a_record_in_time_whose_partners_are_all_over_comes_out_at_once",
    ),
    mutant(
        "a record for an opened step is found",
        "operators/joins/alone.py",
        '            f"if time < {loop.bind(self.opened)}[0] and not entry.met:",\n',
        '            "if False:",\n',
        f"{JOINS}a_record_comes_out_alone_also_if_others_of_its_time_have_been_looked_through",
    ),
    mutant(
        "in the order of keys",
        "operators/joins/alone.py",
        "            stands = key if key.__class__ is str else ordered(key)\n",
        "            stands = str(len(found))\n",
        f"{JOINS}keys_of_any_kind_come_out_in_order",
    ),
    mutant(
        "a semi-join's result has the left record's time",
        "operators/joins/interval.py",
        'code.put(f"{left}.value", f"{left}.time")',
        'code.put(f"{left}.value", later)',
        f"{LAWS}an_interval_join_is_its_definition",
    ),
    mutant(
        "time is passed on later",
        "operators/stepping.py",
        "self.tell(mark if mark in (START, END) else mark - self.behind)",
        "self.tell(mark)",
        f"{JOINS}a_window_behind_has_what_came_out_alone",
    ),
    # Choosing.
    mutant(
        "a choice waits for late ones",
        "operators/joins/choosing.py",
        "return last + self.extra + 1",
        "return last + 1",
        f"{JOINS}wait_holds_a_choice_back_for_late_quotes",
    ),
    mutant(
        "the latest of a key stays",
        "operators/joins/versions.py",
        "            if self.latest and old and held[old - 1].value is not None:\n",
        "            if False:\n",
        f"{JOINS}the_quote_of_a_trade_is_the_latest_up_to_it_whichever_came_first",
    ),
    mutant(
        "a deletion leaves nothing, by event time",
        "operators/joins/versions.py",
        "if self.latest and old and held[old - 1].value is not None:",
        "if self.latest and old:",
        f"{JOINS}a_table_is_read_as_it_is_now_or_as_it_was",
    ),
    mutant(
        "a deletion leaves nothing, of the latest",
        "operators/joins/tables.py",
        "            if self.states[key] is None:\n                del self.states[key]\n",
        "            pass\n",
        f"{JOINS}a_table_is_read_as_it_is_now_or_as_it_was",
    ),
    mutant(
        "a late update does not bring back what was deleted",
        "operators/joins/versions.py",
        "not self.latest or self.at(key, START, time) is None or self.at(",
        "not self.latest or self.at(",
        f"{JOINS}an_update_that_comes_too_late_does_not_bring_back_what_was_deleted",
    ),
    mutant(
        "bounds on one side go by the watermark before a record",
        "operators/joins/interval.py",
        "return min(high for _, high in self.bounds) >= 0 and super().join(loop)",
        "return super().join(loop)",
        f"{JOINS}a_late_record_meets_the_same_with_a_bound_on_one_side",
    ),
    # What is refused.
    mutant(
        "keys of two declared types",
        "operators/joins/keys.py",
        "        if kind is not another:\n",
        "        if False:\n",
        f"{JOINS}keys_of_two_declared_types_are_refused_when_built",
    ),
    mutant(
        "keys of two types",
        "operators/joins/sides.py",
        "            if type(theirs) is not type(mine):\n",
        "            if False:\n",
        f"{JOINS}keys_of_two_types_fail_at_the_first_records",
    ),
    mutant(
        "records that cannot be saved",
        "operators/joins/sides.py",
        "            check_savable(self.node, value)\n",
        "",
        f"{JOINS}a_record_that_cannot_be_saved_fails_when_it_comes",
    ),
    # Kept and freed.
    mutant(
        "what goes is deleted in the table",
        "operators/stores.py",
        "            self.dirty.update(keys[: self.saved.get(age, 0)])\n",
        "            pass\n",
        f"{JOINS}what_is_freed_is_deleted_in_the_table",
    ),
    mutant(
        "what goes before others is deleted in the table, too",
        "operators/stores.py",
        "            self.dirty.update(keys[:saved])\n",
        "",
        f"{JOINS}what_is_freed_is_deleted_in_the_table",
        CRASHES,
    ),
    mutant(
        "what came is saved",
        "operators/stores.py",
        "                self.dirty.update(keys[before:])\n",
        "",
        CRASHES,
        f"{DEDUP_LAWS}cuts_and_crashes_change_nothing",
    ),
    mutant(
        "steps go in their order",
        "operators/stores.py",
        "gone = self.ages.over(mark - self.keep)",
        "gone = self.ages.over(mark - self.keep)[::-1]",
        f"{DEDUP}an_expired_step_is_forgotten_once_for_an_id_that_came_again",
    ),
    mutant(
        "a key of several records is known as such",
        "operators/joins/sides.py",
        "            self.several.add(key)\n",
        "",
        FREED,
        f"{LAWS}an_interval_join_is_its_definition",
    ),
    # dedup.
    mutant(
        "an hour is an hour",
        "operators/deduplicating.py",
        'f"    if {at} - first >= {ttl}:",',
        'f"    if {at} - first > {ttl}:",',
        f"{DEDUP}an_id_is_new_again_an_hour_later",
    ),
    mutant(
        "what may be forgotten does not pass",
        "operators/deduplicating.py",
        'late = f"time + {grace} <= {code.now} and',
        'late = f"time + {ttl} <= {code.now} and',
        f"{DEDUP}a_first_record_may_be_a_sixteenth_behind_the_watermark",
        f"{DEDUP_LAWS}no_two_that_pass_are_less_than_ttl_apart",
    ),
    mutant(
        "an older record is a duplicate, too",
        "operators/deduplicating.py",
        'f"    elif first - {at} < {ttl}:",',
        'f"    elif first <= {at}:",',
        f"{DEDUP}an_older_record_is_a_duplicate_of_a_younger_one_that_came_first",
    ),
    mutant(
        "eviction does not cut off the step in use",
        "operators/stores.py",
        '[f"{then}; {begin} = {end} = 0"]',
        "[then]",
        f"{DEDUP}an_id_that_is_evicted_at_once_leaves_nothing",
    ),
    mutant(
        "an id that came again is younger",
        "operators/deduplicating.py",
        "            gone = [key for key in gone if self.states[key] // self.width == age]",
        "            assert gone",
        f"{DEDUP_LAWS}cuts_and_crashes_change_nothing",
        f"{DEDUP}an_id_that_came_again_is_not_evicted_for_its_first_time",
    ),
    mutant(
        "evictions are counted",
        "operators/deduplicating.py",
        '        self.host.aside("evicted", Batch(evicted))\n',
        "",
        f"{DEDUP}ids_that_are_evicted_are_counted_and_warned_of",
    ),
    mutant(
        "by time, not as they come",
        "operators/groups.py",
        "insort(state[2], [time, value], key=_time)",
        "state[2].append([time, value])",
        f"{DEDUP_LAWS}the_last_and_aggregates_do_not_depend_on_arrival",
    ),
    mutant(
        "late is what time has passed",
        "operators/groups.py",
        "        if time < ctx.watermark:\n",
        "        if False:\n",
        f"{DEDUP}where_time_counts_a_record_behind_the_watermark_is_late",
    ),
    mutant(
        "each operator of a loop has its own steps",
        "operators/stores.py",
        'begin, end, aged = f"begin{step}", f"end{step}", f"aged{step}"',
        'begin, end, aged = "begin", "end", "aged"',
        f"{DEDUP}two_in_one_loop_have_a_memory_each",
    ),
    mutant(
        "a loop gives the times that the last of it gives",
        "runtime/fusion.py",
        "            loop.timed = before  # what comes out is what the last that joined gives\n",
        "",
        f"{JOINS}what_a_loop_gives_to_a_topic_has_its_times",
    ),
    mutant(
        "what is before a join goes by its own time",
        "operators/stepping.py",
        "if clock is None or (self.ports > 1 and clock.followers):",
        "if clock is None:",
        f"{JOINS}what_is_before_a_join_goes_by_its_own_time",
    ),
    # In graphs.
    mutant(
        "brothers and sisters of several batches are told apart",
        "runtime/vertices.py",
        "        if order[0] == elder or len(set(order)) < len(order):\n",
        "        if len(set(order)) < len(order):\n            elder = -1.0\n",
        f"{BATCHING}cuts_and_crashes_do_not_show_in_a_chain_of_three",
    ),
    mutant(
        "what comes out before any record has a time",
        "operators/stepping.py",
        "self.fused, self.timed = False, True",
        "self.fused, self.timed = False, False",
        f"{BATCHING}cuts_do_not_show_in_random_graphs",
    ),
]
