"""Guards of exactly once whose absence is noticed on the simulated broker, in ten schedules or at each await in turn."""

from tests.mutants.guard import mutant

SCHEDULES = "tests/simulation/test_schedules.py::test_whatever_goes_wrong_comes_out_as_if_nothing_had"
TEN = f"{SCHEDULES}[0]"
ASLEEP = "tests/simulation/test_each_await.py::test_each_await_is_a_good_place_for_it[sleeps]"
COMMIT = "        await self.handle.commit(commit)\n"
DOUBTED = """\
        try:
            await self.handle.commit(commit)
        except BrokerError as error:
            if type(error).__name__ != "CommitUnknownError":
                raise
            {}
"""

MUTANTS = [
    # The commit: all of it, in one piece, by its owner only.
    mutant("simulated: fencing check", "brokers/memory.py", "if generation != task.generation:", "if False:", TEN),
    mutant(
        "simulated: who is fenced stops",
        "runtime/running.py",
        "FINAL = (AuthorizationError, FencedError, ",
        "FINAL = (AuthorizationError, ",
        TEN,
    ),
    mutant("simulated: offsets in the commit", "runtime/task.py", "self._offsets())", "{})", TEN),
    mutant(
        "simulated: outputs in the same commit",
        "runtime/task.py",
        COMMIT,
        "        for topic in list(commit.outputs):\n            await self.broker.append(topic, commit.outputs.pop(topic))\n"
        + COMMIT,
        TEN,
    ),
    mutant(
        "simulated: offsets in the same commit",
        "runtime/task.py",
        COMMIT,
        "        await self.handle.commit(Commit(commit.outputs, commit.puts))\n"
        "        await self.handle.commit(Commit(offsets=commit.offsets))\n",
        TEN,
    ),
    mutant(
        "simulated: state in the same commit",
        "runtime/task.py",
        COMMIT,
        "        await self.handle.commit(Commit(commit.outputs, [], commit.offsets))\n"
        "        await self.handle.commit(Commit(puts=commit.puts))\n",
        TEN,
    ),
    mutant("simulated: puts of a commit", "brokers/memory.py", "        self._put(commit.puts)\n", "", TEN),
    # After doubt, memory is dropped.
    mutant(
        "simulated: a doubtful commit is not taken for done",
        "runtime/task.py",
        COMMIT,
        DOUBTED.format("pass"),
        TEN,
    ),
    mutant(
        "simulated: a doubtful commit is not made again",
        "runtime/task.py",
        COMMIT,
        DOUBTED.format("await self.handle.commit(commit)"),
        TEN,
    ),
    mutant(
        "simulated: a restart drops memory",
        "runtime/running.py",
        "task = self.task = Task(",
        "task = self.task = self.task or Task(",
        TEN,
    ),
    mutant(
        "simulated: the task is owned before its state is read",
        "runtime/task.py",
        "        self.handle = await self.broker.open(self.settings.app, self.settings.task, instance=self.instance)\n"
        '        failpoint("acquire.opened")\n'
        "        rows = (await self.broker.read_table(self.table)).rows\n",
        "        rows = (await self.broker.read_table(self.table)).rows\n"
        "        self.handle = await self.broker.open(self.settings.app, self.settings.task, instance=self.instance)\n",
        ASLEEP,
    ),
    # What is seen, and when.
    mutant(
        "simulated: views change after the commit",
        "runtime/task.py",
        COMMIT,
        "        for view, changed in changes:\n            view._apply(changed, self.epoch)\n" + COMMIT,
        TEN,
    ),
    mutant(
        "simulated: published rows in the commit", "runtime/task.py", "            if sink.publish:", "            if False:", TEN
    ),
    mutant(
        "simulated: views have their rows after a restart",
        "runtime/task.py",
        "self.views[end.view]._load(vertex.node.states, self.epoch)",
        "pass",
        TEN,
    ),
    # What is gone on from.
    mutant("simulated: watermarks are gone on from", "runtime/task.py", "node.times.restore(saved)", "pass", TEN),
    mutant(
        "simulated: events that waited are known as saved",
        "operators/agendas.py",
        "max(self.saved, next((place & MASK for place in reversed(self.states)), -1))",
        "next((place & MASK for place in reversed(self.states)), self.saved)",
        TEN,
    ),
    mutant(
        "simulated: who is fenced does not take it for foreign offsets",
        "runtime/task.py",
        "            await self.handle.commit(Commit())  # if a newer",
        "            pass  # if a newer",
        ASLEEP,
    ),
    mutant(
        "simulated: the way over a gap is committed",
        "feeds/topics.py",
        "return chunk if len(chunk.values) or chunk.next_offset > offset else None",
        "return chunk if len(chunk.values) else None",
        TEN,
    ),
]
