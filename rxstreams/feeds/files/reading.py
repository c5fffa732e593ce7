"""Reads the files of a pattern one after the other, and knows how far each was read. It blocks, so it works beside the loop."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import msgspec

from rxstreams.errors import FeedError
from rxstreams.feeds.files.known import Known
from rxstreams.feeds.files.matching import matched
from rxstreams.feeds.files.opening import File
from rxstreams.feeds.files.stretches import Headers, Place, Stretch
from rxstreams.feeds.files.what import What
from rxstreams.feeds.source import Chunk
from rxstreams.log import logger

__all__ = ["Reading"]

ENOUGH_RECORDS, ENOUGH_BYTES = 2**14, 2**20
"""What a thread reads before it comes back: to ask it costs as much as a hundred records."""
HELD = 64
"""Files that are kept open while they are followed, so that what is written before they are renamed is not missed."""


class Reading:
    """One look at the files after the other, and what is new in them.

    Holds: a block of the file that is being read; an entry per file that is known.

    Args:
        what: Which files.
        offset: The next record's number.
        saved: What is known of files, by name, as it was saved.
    """

    def __init__(self, what: What, offset: int, saved: Mapping[Any, Any]) -> None:
        self.what, self.offset = what, offset
        self.known = {name: Known(*entry) for name, entry in saved.items()}
        self.held: dict[str, File] = {}
        self.waiting: dict[str, Known] = {}
        self.now: File | None = None
        self.total = self.passed = 0
        self._work: Generator[Chunk, None, None] = self._look()
        self._error: FeedError | None = None

    @property
    def done(self) -> int:
        """How many of ``total`` bytes have been read."""
        return self.passed + (self.now.passed if self.now is not None else 0)

    def take(self) -> list[Chunk]:
        """The next records, a block of them at least; none if all that there is now has been read.

        Raises:
            FeedError: If a file is damaged, or another than it was; what came before it is given first.
        """
        if self._error is not None:
            raise self._error
        chunks, records, read = list[Chunk](), 0, self.done
        try:
            for chunk in self._work:
                chunks.append(chunk)
                records += len(chunk.values)
                if records >= ENOUGH_RECORDS or self.done - read >= ENOUGH_BYTES or len(chunks) >= ENOUGH_RECORDS:
                    break
        except (FeedError, OSError) as error:
            self._error = error if isinstance(error, FeedError) else FeedError(f"from_files: {error}")
            if not chunks:
                raise self._error from error.__cause__
        return chunks

    def again(self) -> None:
        """Look again from here on."""
        self._work = self._look()

    def close(self) -> None:
        """Close all files."""
        self._work.close()
        while self.held:
            self.held.popitem()[1].close()

    # One look.

    def _look(self) -> Generator[Chunk, None, None]:
        found, empty = matched(self.what.patterns)
        if empty and not self.known and not self.what.follow:
            folders = sorted({os.path.abspath(os.path.dirname(pattern)) for pattern in empty})
            raise FeedError(f"from_files: no file matches {', '.join(empty)} in {', '.join(folders)}")
        self.total, self.passed = sum(status.st_size for status in found.values()), 0
        yield from self._follow_names(found)
        for name in sorted(found, key=lambda name: name not in self.known):  # what was begun goes first
            known, status = self.known.get(name), found[name]
            seen = self.waiting.get(name) or (known if known is not None and known.ended else None)
            if seen is None or seen.inode != status.st_ino or not seen.looks_like(status):
                yield from self._read(name)
            self.passed += status.st_size

    def _follow_names(self, found: Mapping[str, os.stat_result]) -> Iterator[Chunk]:
        """A file that has another name now is the same file; one that is gone must have been read to its end."""
        strayed = {known.inode: name for name, known in self.known.items() if not _bears(found, name, known)}
        if not strayed:
            return
        yield from self._rename(
            {
                name: old
                for name, status in found.items()
                if (old := strayed.get(status.st_ino)) is not None and not self._bears(found, name) and self._is_same(name, old)
            }
        )
        kept = {self.known[name].inode for name in found if self._bears(found, name)}
        for name in strayed.values():
            known = self.known.get(name)
            if known is None or self._bears(found, name):
                continue
            if name in self.held:
                yield from self._read_out(name, replaced=name in found)
            elif known.inode in kept:  # it was being renamed when it was saved last
                yield self._note(name, None)
            elif name not in found and not known.ended:
                raise FeedError(
                    f"{name} is gone, and was read up to byte {known.byte:,} only: put it back, or give the app another name"
                )

    def _bears(self, found: Mapping[str, os.stat_result], name: str) -> bool:
        known = self.known.get(name)
        return known is not None and _bears(found, name, known)

    def _is_same(self, name: str, old: str) -> bool:
        known, file = self.known[old], self.what.open(name)
        if file is None:
            return False
        try:
            return known.head > 0 and not known.stands_for(file, grows=self.what.grows(name))
        finally:
            file.close()

    def _rename(self, olds: Mapping[str, str]) -> Iterator[Chunk]:
        """Files have the names that they have now, each of which had another.

        A commit may come between any two of these: an entry is written under its new name before it is lost under the old.
        """
        before = {old: self.known.pop(old) for old in olds.values()}
        for name in _last_first(olds):
            self.known[name] = before[olds[name]]
            yield self._note(name, list(msgspec.structs.astuple(self.known[name])))
        for old in before:
            if old in self.held:
                self.held.pop(old).close()
            if old not in olds:
                yield self._note(old, None)

    def _read_out(self, name: str, *, replaced: bool) -> Iterator[Chunk]:
        """Read what was still written to a file that has lost its name; when nobody will write to it any more, its last line,
        whether it has an end or not.
        """
        file = self.now = self.held[name]
        final = replaced or not file.status.st_nlink
        yield from self._go_on(file, self.known[name], final=final)
        self.now = None
        if final:
            self.held.pop(name).close()

    def _note(self, name: str, entry: list[Any] | None) -> Chunk:
        if entry is None:
            self.known.pop(name, None)
        return Chunk(0, (), (), self.offset, saves=lambda _: (name, entry))

    # One file.

    def _read(self, name: str) -> Iterator[Chunk]:
        """What is new in a file."""
        grows = self.what.grows(name)
        file = self.now = self.held.pop(name, None) or self.what.open(name)
        if file is None:
            return
        try:
            known, now = self.known.get(name), Known.of(file, grows=grows)
            if known is not None and self._is_left(known, file, grows=grows):
                if known.ended and now.mark == known.mark > 0:  # there is nothing to read
                    self.known[name] = msgspec.structs.replace(known, inode=now.inode, mtime_ns=now.mtime_ns)
                    return
                now = msgspec.structs.replace(now, byte=known.byte, line=known.line)
            yield from self._go_on(file, now, final=not (grows and self.what.follow))
            if grows and self.what.follow:
                self._hold(name, file)
        finally:
            if self.held.get(name) is not file:
                file.close()
            self.now = None

    def _is_left(self, known: Known, file: File, *, grows: bool) -> bool:
        """Whether it is the file that was left at some place; False if it is another, and the first was read to its end.

        Raises:
            FeedError: If it was not.
        """
        other = known.stands_for(file, grows=grows)
        if (other and not known.ended) or (not other and grows and not known.fits(file)):
            other = other or f"no line ends at byte {known.byte:,}, up to which it was read"
            raise FeedError(
                f"{file.name} is not the file any more that was read up to byte {known.byte:,}: {other}. Put it back, or give "
                "the app another name"
            )
        return not other

    def _hold(self, name: str, file: File) -> None:
        self.held[name] = file
        if len(self.held) > HELD:
            self.held.pop(next(iter(self.held))).close()

    def _go_on(self, file: File, known: Known, *, final: bool) -> Iterator[Chunk]:
        """The records from where it was read up to, the last of them with the news that it has ended."""
        reader = self.what.reader(file, Place(known.byte, known.line), final=final)
        last: Stretch | None = None
        try:
            for stretch in reader.stretches():
                if last is not None:
                    yield self._chunk(file, known, last)
                last = stretch
        except FeedError:
            if last is not None:
                yield self._chunk(file, known, last)
            if not (self.what.follow and file.half):
                raise
            self._wait(file.name, known)
            return
        self.waiting.pop(file.name, None)
        end = last or Stretch((), reader.place, tuple)
        end.end = reader.place
        if last is not None or not reader.rest:
            yield self._chunk(file, known, end, ended=not reader.rest)

    def _wait(self, name: str, known: Known) -> None:
        """Try again when the file, which somebody is still writing, is another than it was when it was opened."""
        if name not in self.waiting:
            logger().info("a file ends in the middle; waiting for the rest", file=name)
        self.waiting[name] = known

    def _chunk(self, file: File, known: Known, stretch: Stretch, *, ended: bool = False) -> Chunk:
        """A stretch's records with their numbers, places, and what to save after each."""
        name, n = file.name, len(stretch.values)
        if self.what.grows(name):
            known = known.marked(file, stretch.end.byte)
        offsets = range(self.offset, self.offset + n)
        self.offset = offsets.stop
        self.known[name] = Known(*known.at(stretch.end, ended=ended))

        def saves(taken: int) -> tuple[str, list[Any]]:
            return name, known.at(stretch.after(taken), ended=ended and taken == n)

        return Chunk(0, stretch.values, offsets, offsets.stop, headers=Headers(name, stretch, range(n)), saves=saves)


def _bears(found: Mapping[str, os.stat_result], name: str, known: Known) -> bool:
    """Whether a name is still that of the file."""
    return name in found and found[name].st_ino == known.inode


def _last_first(olds: Mapping[str, str]) -> list[str]:
    """New names in an order in which none takes the place of an old one that is still to be renamed."""
    renamed = {old: name for name, old in olds.items()}
    ordered: dict[str, None] = {}
    for name in olds:
        chain: list[str] = []
        while name in olds and name not in ordered and name not in chain:
            chain.append(name)
            name = renamed.get(name, "")
        ordered |= dict.fromkeys(reversed(chain))
    return list(ordered)
