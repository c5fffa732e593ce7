"""The file itself: making it, refusing what is not ours, connecting, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from rxstreams.errors import BrokerError, ConfigError, RxStreamsError, StorageDamagedError, StorageFullError

__all__ = ["connect", "is_full", "number", "open_lock", "prepare", "translate", "turn"]

APPLICATION = 0x72787331
"""``rxs1``: who wrote the file, at offset 68 of its header."""
FORMAT = 1
"""How the tables below are laid out, at offset 60 of the header; there it can be read before SQLite touches the file."""
_BUSY_MS = 30_000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITTEN = {apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_TRUNCATE}

_SCHEMA = f"""
PRAGMA page_size = 8192;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, max_age_ms INTEGER, max_bytes INTEGER);
CREATE TABLE partitions (topic INTEGER, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition))
    WITHOUT ROWID;
CREATE TABLE batches (topic INTEGER NOT NULL, partition INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, latest_ms INTEGER NOT NULL, bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL, columns BLOB NOT NULL);
CREATE UNIQUE INDEX log ON batches (topic, partition, next_offset, first_offset, latest_ms, bytes);
CREATE TABLE tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0);
CREATE TABLE rows (tab INTEGER NOT NULL, key BLOB NOT NULL, value BLOB, checksum INTEGER NOT NULL, version INTEGER NOT NULL,
    created INTEGER NOT NULL, deleted_ms INTEGER);
CREATE UNIQUE INDEX by_key ON rows (tab, key);
CREATE INDEX by_version ON rows (tab, version);
CREATE INDEX by_deletion ON rows (deleted_ms) WHERE deleted_ms IS NOT NULL;
CREATE TABLE offsets (app TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
    PRIMARY KEY (app, topic, partition)) WITHOUT ROWID;
CREATE TABLE tasks (app TEXT, task TEXT, generation INTEGER NOT NULL, instance TEXT NOT NULL, PRIMARY KEY (app, task))
    WITHOUT ROWID;
"""


def open_lock(path: Path) -> int:
    """A descriptor of the file beside the database by which writers take turns.

    Raises:
        ConfigError: If the directory is not there.
    """
    try:
        return os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"broker file {path}: its directory does not exist; create it, or correct the path") from error
    except OSError as error:
        raise translate(error, path) from error


@contextmanager
def turn(lock: int) -> Iterator[None]:
    """Hold the writers' lock. It goes with the process, so a killed one blocks nobody."""
    # SQLite's own busy handler sleeps and retries, and starved writers for seconds; the kernel's queue does not.
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def prepare(path: Path) -> None:
    """Make the file if there is none, else check that it is ours. Called in the writers' turn.

    Raises:
        StorageDamagedError: If it is not ours, or has another format. Nothing was changed.
        ConfigError: If it is a directory.
    """
    if path.is_dir():
        raise ConfigError(f"broker file {path}: is a directory; expected a file's path")
    if path.exists() and path.stat().st_size:
        _check_header(path)
    else:
        _create(path)


def _create(path: Path) -> None:
    # Made beside and renamed: whoever finds a file finds a whole one, wherever a process was killed.
    made = Path(f"{path}.new")
    for leftover in (made, Path(f"{made}-journal"), Path(f"{made}-wal"), Path(f"{made}-shm"), Path(f"{path}-wal")):
        leftover.unlink(missing_ok=True)
    database = apsw.Connection(os.fspath(made))
    try:
        database.execute(f"BEGIN; {_SCHEMA} COMMIT; PRAGMA journal_mode = wal")
    except apsw.Error as error:
        raise translate(error, path, database) from error
    finally:
        database.close()
    made.rename(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_header(path: Path) -> None:
    # Through SQLite's VFS: closing a descriptor of our own would drop the locks that this process's connections hold.
    database = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        header = database.read("main", 0, 0, 100)[1]
    finally:
        database.close()
    if not header.startswith(b"SQLite format 3\0"):
        raise StorageDamagedError(f"{path} is no SQLite database, or its beginning is damaged; nothing was changed. {_REMEDY}")
    if int.from_bytes(header[68:72], "big") != APPLICATION:
        raise StorageDamagedError(f"{path} is another program's SQLite database; nothing was changed. Give another path.")
    if (version := int.from_bytes(header[60:64], "big")) != FORMAT:
        raise StorageDamagedError(
            f"{path} has format {version}, this rxstreams reads format {FORMAT}; nothing was changed. "
            "Run the rxstreams that wrote it, or give another path."
        )


_REMEDY = "Restore it from a backup, or move it away (with its -wal file) to begin anew."


def connect(path: Path, *, writing: bool) -> apsw.Connection:
    """A connection with our settings, to a file that ``prepare`` has checked."""
    database = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        database.set_busy_timeout(_BUSY_MS)
        database.execute("PRAGMA synchronous = full" if writing else "PRAGMA query_only = on")
        # The first look at the schema recovers what a killed process left, and finds a file cut short.
        database.execute("SELECT count(*) FROM sqlite_schema").get  # noqa: B018
        database.execute("PRAGMA journal_size_limit = 67108864").get  # noqa: B018
    except apsw.Error as error:
        with suppress(apsw.Error):
            database.close()
        raise translate(error, path, database) from error
    return database


def number(database: apsw.Connection, sql: str, bindings: tuple[int | str, ...] = ()) -> int:
    """The one number that ``sql`` finds; 0 for NULL or nothing."""
    found: int | None = database.execute(sql, bindings).get
    return found or 0


def translate(error: BaseException, path: Path, database: apsw.Connection | None = None) -> RxStreamsError:
    """What ``error`` means to a user of the broker; an error of ours stays what it is."""
    if isinstance(error, RxStreamsError):
        return error
    if is_full(error, database):
        return StorageFullError(f"no room for {path}: {error}. Nothing of this was written, and what was is readable; free space")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StorageDamagedError(f"{path} is damaged: {error}. {_REMEDY}")
    return BrokerError(f"{path}: {type(error).__name__}: {error}")


def is_full(error: BaseException, database: apsw.Connection | None = None) -> bool:
    """Whether ``error`` says that there was no room, and that therefore nothing was written."""
    if isinstance(error, apsw.FullError):
        return True
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    # SQLite says FULL for ENOSPC only; a quota or a file size limit is an I/O error to it.
    writing = isinstance(error, apsw.IOError) and getattr(error, "extendedresult", None) in _NOT_WRITTEN
    return writing and database is not None and database.system_errno in _NO_ROOM
