"""A file's bytes, unpacked; what is wrong with them is a FeedError that names the file."""

from __future__ import annotations

import gzip
import importlib
import os
import sys
import zlib
from typing import Any
from zlib import crc32

from rxstreams.errors import ConfigError, FeedError
from rxstreams.feeds.files.matching import Compression

__all__ = ["HEAD", "File", "needed", "zstd_library"]

HEAD = 1024
"""By so many of its first bytes a file is known again, and by so many before a place."""
BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def zstd_library() -> str:
    """The module that has Python's own zstd, or what it was made of for Pythons before 3.14."""
    return "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def needed(module: str, what: str) -> Any:
    """A module that only some files need.

    Raises:
        ConfigError: If it is not there, with the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"from_files: {what} needs {module}: pip install 'rxstreams[batch]'") from error


class File:
    """A file that is open, as unpacked bytes.

    Attributes:
        half: Whether it was found to end in the middle.
    """

    def __init__(self, name: str, compression: Compression) -> None:
        self.name = name
        try:
            self._raw = open(name, "rb")  # noqa: SIM115  # closed by ``close``
        except OSError as error:
            raise FeedError(f"{name} cannot be opened: {error.strerror}") from error
        self._bytes: Any = self._raw
        self._error: FeedError | None = None
        self.half = False
        self.damage: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error)
        try:
            self._unpack(compression)
            self._refuse_wide()
        except BaseException:
            self.close()
            raise

    def _unpack(self, compression: Compression) -> None:
        if compression == "gzip":
            self._bytes = gzip.GzipFile(fileobj=self._raw, mode="rb")
        elif compression == "zstd":
            zstd = needed(zstd_library(), "a file packed by zstd")
            self._bytes = zstd.ZstdFile(self._raw)
            self.damage = (*self.damage, zstd.ZstdError)

    def _refuse_wide(self) -> None:
        if wide := BOMS.get(self.head(2)):
            raise FeedError(f"{self.name} is {wide}, and lines are read as UTF-8; write it anew as UTF-8")

    @property
    def status(self) -> os.stat_result:
        """What ``stat`` says of it now, whatever bears its name."""
        return os.fstat(self._raw.fileno())

    @property
    def passed(self) -> int:
        """How many bytes of the file, as it is packed, have been read."""
        return 0 if self._raw.closed else self._raw.tell()

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; none at the end. What comes before damage is given first."""
        parts, left = list[bytes](), size
        try:
            if self._error is None:
                while left and (part := self._bytes.read1(left)):  # `read` would drop what it has when it meets damage
                    parts.append(part)
                    left -= len(part)
        except self.damage as error:
            self._error = self._damaged(error)
            self._error.__cause__ = error
        if self._error is not None and not parts:
            raise self._error
        return b"".join(parts)

    def line(self, size: int) -> bytes:
        """The next line, or its first ``size`` bytes."""
        try:
            line: bytes = self._bytes.readline(size)
            return line
        except self.damage as error:
            raise self._damaged(error) from error

    def seek(self, byte: int) -> None:
        """Go to a place among the unpacked bytes; of a packed file all before it is unpacked once more."""
        try:
            self._bytes.seek(byte)
        except self.damage as error:
            raise self._damaged(error) from error

    def head(self, size: int) -> bytes:
        """The first bytes of the file as it is packed."""
        return os.pread(self._raw.fileno(), size, 0)

    def around(self, byte: int) -> bytes:
        """The byte before a place and the one behind it, of a file that is not packed."""
        return os.pread(self._raw.fileno(), 2, byte - 1)

    def before(self, byte: int, size: int) -> bytes:
        """The bytes before a place of the file as it is packed, ``size`` at most."""
        start = max(byte - size, 0)
        return os.pread(self._raw.fileno(), byte - start, start)

    def checksum(self, byte: int) -> int:
        """Of the last bytes before a place."""
        return crc32(self.before(byte, HEAD))

    def _damaged(self, error: Exception) -> FeedError:
        return self.cut_off() if isinstance(error, EOFError) else self._unreadable(str(error))

    def cut_off(self) -> FeedError:
        """What to raise, now that it was found to end in the middle."""
        self.half = True
        return self._unreadable("ends in the middle: it was cut off, or is still being written")

    def _unreadable(self, what: str) -> FeedError:
        return FeedError(f"{self.name} cannot be read on: {what}. Put it there whole, and start again; what was committed stays")

    def close(self) -> None:
        """Give the file back to the system."""
        self._bytes.close()
        self._raw.close()
