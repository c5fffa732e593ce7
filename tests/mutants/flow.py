"""Guards of edges and calls: bounds, policies, order, what is saved, what is left behind."""

from __future__ import annotations

from tests.mutants.guard import mutant

EDGES = "tests/flow/test_edges.py::test_"
CALLS = "tests/flow/test_calls.py::test_"
SINKS = "tests/flow/test_sinks.py::test_"
ENRICH = "tests/flow/test_enrich.py::test_"
WAKING = "tests/flow/test_waking.py::test_"
ONCE = f"{EDGES}what_waits_in_an_edge_is_saved_and_comes_out_once"
AGAIN = f"{CALLS}what_is_under_way_at_a_crash_is_called_for_again_and_counts_once"

MUTANTS = [
    mutant(
        "a blocking edge says how much room it has", "operators/edges.py",
        "return 0 if self.full else self.capacity - len(self.held)", "return UNBOUNDED",
        f"{EDGES}a_blocked_edge_loses_nothing_and_keeps_its_order",
    ),
    mutant(
        "a full edge waits until it is as empty as was said", "operators/edges.py",
        "elif self.full and waiting <= self.resume_at:", "elif self.full and waiting < self.capacity:",
        f"{EDGES}a_full_edge_asks_for_more_when_it_is_as_empty_as_was_said",
    ),
    mutant(
        "what waits is saved", "operators/edges.py",
        "        for number in self.held.keys() - self.states.keys():\n", "        for number in ():\n",
        ONCE, AGAIN,
    ),
    mutant(
        "what was saved and has gone is deleted", "operators/edges.py",
        "            if self.states.pop(one.number, LOST) is not LOST:\n                self.dirty.add(one.number)\n",
        "            pass\n",
        f"{CALLS}what_was_saved_and_has_come_out_does_not_come_again",
    ),
    mutant(
        "a record that is worked on is not dropped", "operators/edges.py",
        "for one in self.held.values() if one.stage == WAITING]", "for one in self.held.values()]",
        f"{EDGES}what_is_being_called_for_is_not_dropped",
    ),
    mutant(
        "what is dropped is on the side stream", "operators/edges.py",
        '        self.host.aside("dropped", self.batch_of(going))\n', "        pass\n",
        f"{EDGES}a_policy_drops_what_it_says",
    ),
    mutant(
        "a source that cannot be slowed is told", "operators/edges.py",
        'return self.overflow == "block" and (self.heeded or self.host.durable)', 'return self.overflow == "block"',
        f"{CALLS}a_source_that_cannot_be_slowed_ends_a_subscription_whose_edge_is_full",
    ),
    mutant(
        "the watermark waits for what is held", "operators/edges.py",
        "return times[0][0] if times else END", "return END",
        f"{CALLS}watermarks_do_not_overtake_what_is_under_way",
    ),
    mutant(
        "an edge gives no more than there is room for below", "runtime/demand.py",
        "past_meetings=isinstance(vertex.node, Edge)", "past_meetings=False",
        f"{EDGES}an_edge_counts_where_its_results_meet_others",
    ),
    mutant(
        "one at a time where a record may become many", "runtime/demand.py",
        "return min(room, 1) if gate.crowded and room < UNBOUNDED else room", "return room",
        f"{EDGES}an_edge_counts_where_its_results_meet_others",
        "tests/operators/test_state.py::test_only_a_bounded_number_of_records_waits_for_slow_calls",
    ),
    mutant(
        "results come in the order of their records", "operators/calls.py",
        'if self.order == "input":\n            return first', "if False:\n            return first",
        f"{CALLS}results_come_in_the_order_of_their_records_however_long_calls_take",
    ),
    mutant(
        "calls of one key are made one after the other", "operators/calls.py",
        "            if behind[0] is one:  # else", "            if True:  # else",
        f"{CALLS}calls_of_one_key_are_made_one_after_the_other",
    ),
    mutant(
        "no more calls than were allowed", "operators/calls.py",
        "len(self.workers) < self.concurrency and self.made", "self.made",
        f"{CALLS}results_come_in_the_order_of_their_records_however_long_calls_take",
    ),
    mutant(
        "a worker that has found nothing is replaced if something has come", "operators/calls.py",
        "        self.work()  # something may have come after it had found nothing, and before it had ended\n", "",
        "tests/runtime/test_health.py::test_a_run_that_makes_no_progress_while_records_wait_begins_anew",
    ),
    mutant(
        "calls that do not wait let others have a turn", "operators/calls.py",
        "elif self.made >= AT_ONCE:", "elif False:",
        f"{CALLS}calls_that_do_not_wait_let_others_have_their_turn",
    ),
    mutant(
        "somebody else's cancellation is an error", "operators/calls.py",
        "if isinstance(raised, KeyboardInterrupt | SystemExit) or self.closing:",
        "if isinstance(raised, KeyboardInterrupt | SystemExit | asyncio.CancelledError):",
        f"{CALLS}a_call_that_somebody_else_cancels_is_an_error_like_others",
    ),
    mutant(
        "calls under way are cancelled", "operators/calls.py",
        "            worker.cancel()\n", "            pass\n",
        f"{CALLS}nothing_is_left_behind_when_calls_are_cut_off",
    ),
    mutant(
        "it is waited for calls that were cancelled", "runtime/task.py",
        "                await self.graph.closed()\n", "                pass\n",
        f"{CALLS}a_call_that_ignores_its_cancellation_is_told_and_left",
    ),
    mutant(
        "a run is looked through again for what changed meanwhile", "runtime/task.py",
        "            self.changed.clear()  # what changes from here on is looked at before it is waited for anything\n", "",
        f"{EDGES}nobody_waits_for_a_commit",
    ),
    mutant(
        "a run is over when nothing is under way", "runtime/task.py",
        "or self.inputs.waiting or self._over():", "or self.inputs.waiting:",
        f"{EDGES}nobody_waits_for_a_commit",
    ),
    mutant(
        "an attempt's time is bounded", "operators/calls.py",
        "self.ask = self.asked if timeout is None else self.asked_in_time", "self.ask = self.asked",
        f"{CALLS}a_call_that_takes_too_long_is_cancelled",
    ),
    mutant(
        "those who want one key share its lookup", "operators/enriching.py",
        "if found is None and key in self.flights}", "if False}",
        f"{ENRICH}records_that_want_one_key_share_its_lookup",
    ),
    mutant(
        "a lookup that is shared is not cancelled", "operators/enriching.py",
        "(await asyncio.shield(flight),)", "(await flight,)",
        f"{ENRICH}who_stops_waiting_takes_nobody_s_answer_away",
    ),
    mutant(
        "an answer is fresh for so long", "operators/enriching.py",
        "        if until <= asyncio.get_running_loop().time():\n", "        if False:\n",
        f"{ENRICH}an_answer_is_asked_for_anew_when_it_is_not_fresh_any_more",
    ),
    mutant(
        "a record's name is saved with it", "operators/calling.py",
        "one.ident if self.identities is not None else None)", "None)",
        f"{SINKS}names_are_the_same_for_the_same_record_after_a_crash",
    ),
    mutant(
        "a rate limit is saved", "operators/bounding.py",
        '            self.put("went", list(self.recent))\n', "            pass\n",
        f"{EDGES}a_rate_limit_holds_in_every_window_of_time_and_over_a_restart",
    ),
    mutant(
        "what a feed saves follows the part of a chunk", "feeds/source.py",
        "return saves(before + n)", "return saves(n)",
        "tests/feeds/test_saved_notes.py::test_what_is_saved_follows_how_far_the_records_of_a_chunk_have_gone",
    ),
    mutant(
        "a feed is given what it saved", "runtime/inputs.py",
        "saved = dict(vertex.node.states)", "saved: dict[object, object] = {}",
        "tests/feeds/test_saved_notes.py::test_a_feed_goes_on_from_what_it_saved_when_a_run_is_started_again",
    ),
    mutant(
        "what has its turn goes on in a subscription", "operators/calls.py",
        "            self.drain()\n", "            pass\n",
        f"{WAKING}two_calls_in_a_row_go_on_in_a_subscription",
    ),
    mutant(
        "a rate limit waits for room below", "operators/bounding.py",
        "        if turn <= now:\n", "        if False:\n",
        f"{WAKING}a_rate_limit_waits_for_room_without_turning_round_and_round",
    ),
    mutant(
        "what comes by itself is waited for", "runtime/task.py",
        "if any(isinstance(vertex.node, Edge) and vertex.node.patient for", "if any(False for",
        f"{WAKING}a_run_waits_for_what_comes_by_itself",
    ),
    mutant(
        "what was dropped leaves the queues", "operators/edges.py",
        "        self.purge()\n", "",
        f"{WAKING}a_policy_that_drops_holds_its_bound_while_calls_are_slow",
    ),
    mutant(
        "an edge waits for a node that waits for another stream", "runtime/demand.py",
        "if not gate.vertex.fan_in or _may_wait(vertex, gate, only)]", "if not gate.vertex.fan_in]",
        f"{WAKING}a_meeting_holds_its_bound_behind_an_edge",
    ),
    mutant(
        "a run makes its calls before it ends", "runtime/task.py",
        "        if any(vertex.node.backlog for vertex, _ in self.graph.ends(CallableSink)):\n            return False\n", "",
        f"{WAKING}all_calls_are_made_where_a_run_ends_early_below",
    ),
    mutant(
        "no call is begun after the end", "operators/calls.py",
        "while not self.closing and (ones := self.next_ones()):", "while ones := self.next_ones():",
        f"{WAKING}no_call_is_begun_after_the_end_or_an_error",
    ),
    mutant(
        "whatever a call raises is heard of", "operators/calls.py",
        "            except BaseException as raised:\n", "            except Exception as raised:\n",
        f"{WAKING}whatever_a_call_raises_is_heard_of",
    ),
    mutant(
        "a thread's StopIteration is an error", "operators/threads.py",
        "    except StopIteration as error:\n", "    except ZeroDivisionError as error:\n",
        f"{WAKING}a_thread_that_raises_stop_iteration_fails",
    ),
    mutant(
        "a key is told from another of another type", "operators/enriching.py",
        "typed = [(type(key), key) for key in keys]  # 1 is not True", "typed = [(object, key) for key in keys]",
        f"{WAKING}one_of_several_that_has_no_key_is_alone",
    ),
    mutant(
        "the wait between attempts is bounded", "operators/calls.py",
        "min((policy.backoff or 0.0) * 2 ** min(attempt - 1, 30), LONGEST_BACKOFF)",
        "(policy.backoff or 0.0) * 2 ** (attempt - 1)",
        f"{WAKING}many_attempts_are_made_without_growing_waits_beyond_measure",
    ),
    mutant(
        "names are refused where they would change", "runtime/naming.py",
        "            if before.node.gives_when_it_can or isinstance(before.node, Opaque):\n", "            if False:\n",
        f"{SINKS}values_name_themselves_where_nothing_else_can",
    ),
    mutant(
        "a run goes on giving where there is room", "runtime/graph.py",
        "                if 0 < vertex.node.backlog < waiting:\n", "                if False:\n",
        f"{EDGES}what_there_is_room_for_again_and_again_goes_at_once",
    ),
]  # fmt: skip
