"""What is known of a file: how far it was read, and by what it is known again. It is saved under the file's name."""

from __future__ import annotations

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
    """The file's size then."""
    inode: int = 0
    head: int = 0
    """How many of its first bytes ``crc`` is of."""
    crc: int = 0

    @staticmethod
    def of(file: File) -> Known:
        """A file that is to be read from its start."""
        status = file.status
        head = min(HEAD, status.st_size)
        return Known(size=status.st_size, inode=status.st_ino, head=head, crc=file.checksum(head))

    def at(self, place: Place, *, ended: bool) -> list[Any]:
        """What to save when it was read that far."""
        return [*place, ended, self.size, self.inode, self.head, self.crc]

    def stands_for(self, file: File, *, grows: bool) -> str:
        """Nothing if this is the file that was read, or had been; else how it is another."""
        size = file.status.st_size
        if grows and size < self.byte:
            return f"it has {size:,} bytes, and was read up to byte {self.byte:,}"
        if not grows and size != self.size:
            return f"it has {size:,} bytes, and had {self.size:,}"
        if file.checksum(self.head) != self.crc:
            return "it begins otherwise"
        return ""

    def fits(self, file: File) -> bool:
        """Whether what a file has got since begins with a line; its last may have had no end, and gone on."""
        return not 0 < self.byte < file.status.st_size or b"\n" in file.around(self.byte)
