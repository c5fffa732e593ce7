"""Webhook: what other services post becomes records of a topic, if it is signed by whoever knows the secret."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import msgspec

from rxstreams.errors import ConfigError, seconds
from rxstreams.operators.arguments import check_count, check_name
from rxstreams.web.backlog import Backlog
from rxstreams.web.intake import Intake

__all__ = ["webhook"]

Secret = str | bytes
TAKEN = b'{"status":"taken"}'
_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Signature:
    """How a service signs what it posts, as ``webhook`` tells."""

    secret: Secret | Sequence[Secret] = field(repr=False)
    header: str
    format: str
    tolerance: float = 300.0
    _: KW_ONLY
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        several = [self.secret] if isinstance(self.secret, str | bytes) else self.secret
        if not isinstance(several, Sequence) or not several or not all(isinstance(one, str | bytes) and one for one in several):
            raise ConfigError("webhook(secret): expected a text or bytes, or several, none empty: anybody could sign with that")
        fields = sorted(self._prefixes)
        if fields not in (["hex"], ["base64"], ["hex", "timestamp"], ["base64", "timestamp"]):
            raise ConfigError(f"webhook: expected a format such as 'sha256={{hex}}', got {self.format!r}")

    @property
    def _secrets(self) -> list[bytes]:
        several = [self.secret] if isinstance(self.secret, str | bytes) else self.secret
        return [one.encode() if isinstance(one, str) else one for one in several]

    @property
    def _prefixes(self) -> dict[str, str]:
        parts = (part.partition("{") for part in self.format.split(","))
        return {name.removesuffix("}"): prefix for prefix, _, name in parts}

    def problem(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Why a request is not from whoever has the secret; None if it is."""
        given = headers.get(self.header)
        if given is None:
            return f"expected a signature in {self.header}, got none"
        found: dict[str, list[str]] = {}
        for name, prefix in self._prefixes.items():
            found[name] = [part.strip()[len(prefix) :] for part in given.split(",") if part.strip().startswith(prefix)]
        if not all(found.values()):
            return f"expected {self.format} in {self.header}"
        stamp = found.pop("timestamp", [None])[0]
        ((encoding, signatures),) = found.items()
        if not self._matches(encoding, signatures, body if stamp is None else stamp.encode() + b"." + body):
            return f"{self.header} is no signature of this body under the secret that is expected"
        if stamp is not None and not self._near(stamp):
            return f"the timestamp in {self.header} is more than {self.tolerance:g} s away from the clock"
        return None

    def _matches(self, encoding: str, signatures: list[str], signed: bytes) -> bool:
        digests = [hmac.digest(secret, signed, "sha256") for secret in self._secrets]
        expected = [digest.hex().encode() if encoding == "hex" else b64encode(digest) for digest in digests]
        return any(hmac.compare_digest(one, signature.encode()) for one in expected for signature in signatures)

    def _near(self, stamp: str) -> bool:
        seconds = stamp.isascii() and stamp.isdigit() and len(stamp) <= _DIGITS
        return bool(seconds) and abs(self.clock() - int(stamp)) <= self.tolerance


def webhook(
    topic: str,
    *,
    secret: Secret | Sequence[Secret],
    header: str = "X-Hub-Signature-256",
    format: str = "sha256={hex}",  # noqa: A002  # no better word
    tolerance: float = 300.0,
    body: Any = msgspec.Raw,
    key: Callable[[Any], str | None] = lambda _: None,
    delivery: str | None = "X-GitHub-Delivery",
    backlog: Backlog | None = None,
    max_bytes: int = 1_000_000,
) -> Intake[Any]:
    """Make an intake for what another service posts and signs.

    Its route is ``Route(path, hook.post, methods=["POST"])``, after ``await hook.start(broker)``. It answers 202 when the record
    is durable, 401 with the reason where the signature is not right, else as ``Intake`` does. The same delivery again gets 202,
    and there is no second record. The service signs with HMAC-SHA256, under a secret that only it and we know; what is not set is
    as GitHub does it.

    The delivery's id is not signed. Who has heard a delivery can post it again under another id, with a timestamp only as long
    as the tolerance says; ``dedup`` by an id in the body if that matters.

    Args:
        topic: Where the records go.
        secret: The secret, or several while the service moves from one to the next.
        header: Where the signature stands.
        format: What stands there, with ``{hex}`` or ``{base64}`` for the signature of the raw body. With ``{timestamp}``, as in
            Stripe's ``t={timestamp},v1={hex}``, the signature is of the seconds since the epoch, a dot and the body. What stands
            between commas may come in any order, and more than once.
        tolerance: Seconds that such a timestamp may be away from the clock.
        body: What a body must be: ``msgspec.Raw`` is any JSON, kept as it is; a msgspec Struct keeps what it names; None is
            anything, whether JSON or not.
        key: The record's key, of the body; records of one key stay in order.
        delivery: The header with the delivery's id, which is the same when the service tries again; None where it sends none, as
            Stripe, whose bodies have an id: ``dedup`` by that.
        backlog: How much the topic's reader may leave unread.
        max_bytes: The longest body that is taken.

    Raises:
        ConfigError: If an argument is wrong.
    """
    for name, value in {"topic": topic, "header": header, "format": format}.items():
        check_name(f"webhook({name})", value, or_none=False)
    check_name("webhook(delivery)", delivery)
    seconds("webhook(tolerance)", tolerance)
    check_count("webhook(max_bytes)", max_bytes, least=1)
    return Intake(
        topic,
        body,
        key=key,
        complete=lambda value, _: value,
        backlog=backlog,
        forged=Signature(secret, header, format, tolerance).problem,
        token=delivery,
        answer=lambda _: TAKEN,
        max_bytes=max_bytes,
    )
