"""Guards of files as a source."""

from tests.mutants.guard import mutant

RESTART = "tests/feeds/files/test_restart.py::test_"
FOLLOWING = "tests/feeds/files/test_following.py::test_"
BAD = "tests/feeds/files/test_bad_lines.py::test_"
SOURCES = "tests/feeds/files/test_sources.py::test_"
FORMATS = "tests/feeds/files/test_formats.py::test_"

NEXT = f"{RESTART}a_restart_goes_on_at_the_next_record"
AS_IT_WAS = f"{RESTART}a_file_that_was_read_in_part_must_be_there_as_it_was"

MUTANTS = [
    mutant(
        "files: a restart goes on where it was",
        "feeds/files/reading.py",
        "now = msgspec.structs.replace(now, byte=known.byte, line=known.line)",
        "pass",
        NEXT,
    ),
    mutant(
        "files: a file has ended when its last record is committed",
        "feeds/files/reading.py",
        "ended=ended and taken == n",
        "ended=ended",
        NEXT,
    ),
    mutant(
        "files: the place is that of the record, not of the chunk",
        "feeds/files/stretches.py",
        "return self.end if n >= len(self.values) else self.places[n]",
        "return self.end",
        NEXT,
    ),
    mutant(
        "files: one that shrank",
        "feeds/files/known.py",
        "if status.st_size < self.mark:",
        "if False:",
        AS_IT_WAS,
    ),
    mutant(
        "files: one that begins otherwise",
        "feeds/files/known.py",
        "if file.checksum(self.head) != self.crc:",
        "if False:",
        AS_IT_WAS,
    ),
    mutant(
        "files: another under the same name",
        "feeds/files/known.py",
        "if status.st_ino != self.inode and not self.looks_like(status) and (grows or self.ended):",
        "if False:",
        AS_IT_WAS,
        f"{RESTART}a_file_that_is_put_in_the_place_of_one_that_was_read_is_read_whole",
    ),
    mutant(
        "files: a copy that kept its time",
        "feeds/files/known.py",
        " and not self.looks_like(status)",
        "",
        f"{RESTART}a_copy_of_the_folder_is_as_good",
    ),
    mutant(
        "files: a packed one that was cut off may have another inode",
        "feeds/files/known.py",
        " and (grows or self.ended):",
        ":",
        f"{RESTART}a_packed_file_that_was_half_there_goes_on_when_it_is_whole",
    ),
    mutant(
        "files: something else before the place",
        "feeds/files/known.py",
        "if file.checksum(self.mark) != self.tail:",
        "if False:",
        f"{FOLLOWING}another_file_of_the_same_name_is_read_whole_although_it_begins_as_the_first",
    ),
    mutant(
        "files: a packed one that is being written",
        "feeds/files/reading.py",
        "if not (self.what.follow and file.half):",
        "if True:",
        f"{FOLLOWING}a_packed_file_that_is_being_written_is_waited_for",
    ),
    mutant(
        "files: half a Parquet file",
        "feeds/files/parquet.py",
        "        self._refuse_others()\n",
        "",
        f"{FORMATS}a_file_that_cannot_be_read_is_named",
    ),
    mutant(
        "files: a bad record's place where nobody asks for order",
        "runtime/failures.py",
        "elif not vertex.inputs:",
        "elif False:",
        f"{BAD}a_bad_line_has_its_place_whatever_comes_behind_the_source",
    ),
    mutant(
        "files: a line that went on",
        "feeds/files/known.py",
        "return not 0 < self.byte < file.status.st_size or",
        "return True or",
        f"{RESTART}a_last_line_that_goes_on_after_it_was_read_is_an_error",
    ),
    mutant(
        "files: one that is gone",
        "feeds/files/reading.py",
        "elif name not in found and not known.ended:",
        "elif False:",
        AS_IT_WAS,
    ),
    mutant(
        "files: one that is renamed is known again",
        "feeds/files/reading.py",
        " and self._is_same(name, old)",
        " and False",
        f"{RESTART}a_file_that_is_renamed_between_two_starts_goes_on_under_its_new_name",
    ),
    mutant(
        "files: new names are saved in an order that a crash may cut",
        "feeds/files/reading.py",
        "for name in _last_first(olds):",
        "for name in olds:",
        f"{RESTART}a_commit_may_come_between_any_two_chunks",
    ),
    mutant(
        "files: what is written before a log is renamed",
        "feeds/files/reading.py",
        "if name in self.held:\n                yield",
        "if False:\n                yield",
        f"{FOLLOWING}a_log_may_be_rotated",
    ),
    mutant(
        "files: a line waits for its end",
        "feeds/files/lines.py",
        'len(left) if self.final else left.rfind(b"\\n") + 1',
        "len(left)",
        f"{FOLLOWING}a_line_waits_for_its_end",
    ),
    mutant(
        "files: files that are held open are counted",
        "feeds/files/reading.py",
        "if len(self.held) > HELD:",
        "if False:",
        f"{SOURCES}no_file_stays_open_when_a_run_is_stopped",
    ),
    mutant(
        "files: only what changed is read and saved",
        "feeds/files/reading.py",
        "if seen is None or seen.inode",
        "if True or seen.inode",
        f"{SOURCES}ten_thousand_files_are_saved_when_they_change_and_only_then",
    )._replace(seconds=30),
    mutant(
        "files: a line that is too long is no record",
        "feeds/files/feed.py",
        "if not n or not isinstance(chunk.values[0], Bad):",
        "if True:",
        f"{BAD}a_line_that_is_too_long_is_bad_although_it_is_json",
    ),
    mutant(
        "files: a line that is too long is not held",
        "feeds/files/lines.py",
        "            if len(left) > self.longest:",
        "            if False:",
        f"{BAD}a_line_of_100_mb_is_not_held",
    )._replace(seconds=30),
    mutant(
        "files: what comes before damage",
        "feeds/files/opening.py",
        "part := self._bytes.read1(left)",
        "part := self._bytes.read(left)",
        f"{FORMATS}what_came_before_the_damage_is_not_lost",
    ),
    mutant(
        "files: a thread that reads is waited for",
        "feeds/files/feed.py",
        "        await asyncio.wait([thread])\n",
        "",
        f"{SOURCES}no_file_stays_open_when_it_is_cancelled_while_a_thread_reads",
    ),
    mutant(
        "files: reading blocks a thread, not the loop",
        "feeds/files/feed.py",
        "await _beside(reading.take)",
        "reading.take()",
        f"{SOURCES}the_loop_goes_on_while_a_file_is_read",
    ),
]
