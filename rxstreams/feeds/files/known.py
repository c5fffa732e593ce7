"""What is known of a file: how far it was read, and by what it is known again. It is saved under the file's name."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from rxstreams.feeds.files.opening import HEAD, File
from rxstreams.feeds.files.stretches import Place

__all__ = ["Known"]


class Known(msgspec.Struct, frozen=True):
    """How far a file was read, and which one it was."""

    byte: int = 0
    """Unpacked bytes that were read; rows of Parquet."""
    line: int = 0
    ended: bool = False
    """Whether that is all that there was."""
    size: int = 0
    """The file's size when it was opened; ``inode`` and ``mtime_ns`` are of then, too."""
    inode: int = 0
    head: int = 0
    """How many of its first bytes ``crc`` is of."""
    crc: int = 0
    mtime_ns: int = 0
    mark: int = 0
    """A byte that surely was there: the end of what was read, or of a packed file; ``tail`` is a checksum before it."""
    tail: int = 0

    @staticmethod
    def of(file: File, *, grows: bool) -> Known:
        """A file that is to be read from its start."""
        status = file.status
        size, head = status.st_size, min(HEAD, status.st_size)
        known = Known(size=size, inode=status.st_ino, head=head, crc=file.checksum(head), mtime_ns=status.st_mtime_ns)
        return known if grows else known.marked(file, size)

    def marked(self, file: File, mark: int) -> Known:
        """With the last bytes before a place to be known by."""
        return msgspec.structs.replace(self, mark=mark, tail=file.checksum(mark))

    def at(self, place: Place, *, ended: bool) -> list[Any]:
        """What to save when it was read that far."""
        return [*place, ended, *msgspec.structs.astuple(self)[3:]]

    def looks_like(self, status: os.stat_result) -> bool:
        """Whether size and time are just as they were."""
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)

    def stands_for(self, file: File, *, grows: bool) -> str:
        """Nothing if this is the file that was read, or had been; else how it is another.

        A packed file that was being copied may be there whole under another inode; its last bytes hardly lie.
        """
        status = file.status
        if status.st_ino != self.inode and not self.looks_like(status) and (grows or self.ended):
            return "another file was put in its place, or a copy that did not keep the time"
        if status.st_size < self.mark:
            return f"it has {status.st_size:,} bytes, and was read up to byte {self.mark:,}"
        if file.checksum(self.head) != self.crc:
            return "it begins otherwise"
        if file.checksum(self.mark) != self.tail:
            return f"there is something else before byte {self.mark:,}"
        return ""

    def fits(self, file: File) -> bool:
        """Whether what a file has got since begins with a line; its last may have had no end, and gone on."""
        return not 0 < self.byte < file.status.st_size or b"\n" in file.around(self.byte)
