"""Where a test may kill the process: named steps at which ``kill -9`` strikes if the environment asks for it.

``RXSTREAMS_FAILPOINT=name`` kills at the first time that the step is reached, ``name:n`` at the n-th. With
``RXSTREAMS_FAILPOINT_LOG=path`` the name is written there first, so that a test knows that it struck.
"""

from __future__ import annotations

import os
import signal
from itertools import count

__all__ = ["failpoint"]

_NAME, _, _HIT = os.environ.get("RXSTREAMS_FAILPOINT", "").partition(":")
_LOG = os.environ.get("RXSTREAMS_FAILPOINT_LOG")
_FATAL = int(_HIT or 1)
_hits = count(1)


def failpoint(name: str) -> None:
    """Die here if the environment names this step; otherwise do nothing, at the cost of one comparison."""
    if _NAME and name == _NAME and next(_hits) == _FATAL:
        _die(name)


def _die(name: str) -> None:
    if _LOG:
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(log, f"{name}\n".encode())
        os.close(log)
    os.kill(os.getpid(), signal.SIGKILL)
