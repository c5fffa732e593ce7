"""How clients prove who they are, and who the brokers are: TLS and SASL, without a secret in any message, log or repr."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rxstreams.errors import ConfigError

__all__ = ["MECHANISMS", "PROTOCOLS", "Security"]

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class Security:
    """How to connect; the names are those of Kafka's own clients.

    Args:
        security_protocol: ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``; None is what the rest asks for: TLS with
            a user or a file of certificates, else none.
        sasl_mechanism: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
        username: The user, if SASL is used.
        password: The user's password.
        ssl_cafile: Certificates (PEM) of who may vouch for the brokers; None is the system's.
        ssl_certfile: The client's own certificate (PEM), where brokers ask for one.
        ssl_keyfile: Its key, if that is not in the same file.
        ssl_key_password: The key's password.
        allow_plaintext_password: Whether ``PLAIN`` may send the password over a connection that anybody on the way can read.

    Raises:
        ConfigError: If parts are missing, do not fit together, or would send a password in the clear.
    """

    security_protocol: Protocol | None = None
    sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    allow_plaintext_password: bool = False

    def __post_init__(self) -> None:
        _one_of("security_protocol", self.security_protocol, (None, *PROTOCOLS))
        _one_of("sasl_mechanism", self.sasl_mechanism, MECHANISMS)
        protocol, files = self.protocol, (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile)
        if protocol.startswith("SASL") and not (self.username and self.password):
            missing = "password" if self.username else "username"
            remedy = f"set RXSTREAMS_KAFKA_{missing.upper()}, or write it into the broker's URL"
            raise ConfigError(f"Kafka, {protocol}: there is no {missing}; {remedy}")
        if self.password and not self.username:
            raise ConfigError(
                "Kafka: a password, and no username; set RXSTREAMS_KAFKA_USERNAME, or write it into the broker's URL"
            )
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ConfigError("Kafka: ssl_keyfile, and no ssl_certfile that it is the key of")
        if self.username and not protocol.startswith("SASL"):
            raise ConfigError(f"Kafka: a username, and security_protocol={protocol}, which sends none; expected SASL_SSL")
        if any(files) and not protocol.endswith("SSL"):
            raise ConfigError(f"Kafka: ssl_… files, and security_protocol={protocol}, which has no use for them")
        if protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN" and not self.allow_plaintext_password:
            raise ConfigError(
                "Kafka: PLAIN over SASL_PLAINTEXT sends the password in the clear. Use SASL_SSL, or a SCRAM mechanism, which "
                "sends none; or ask for it by allow_plaintext_password=yes"
            )

    @property
    def protocol(self) -> str:
        """The security protocol, chosen by what else is given if it is not named."""
        if self.security_protocol is not None:
            return self.security_protocol
        if self.username is not None:
            return "SASL_SSL"
        return "SSL" if self.ssl_cafile or self.ssl_certfile else "PLAINTEXT"

    def options(self) -> dict[str, Any]:
        """What aiokafka's clients take.

        Raises:
            ConfigError: If a file of certificates or keys cannot be read.
        """
        found: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.endswith("SSL"):
            found["ssl_context"] = self._context()
        if self.protocol.startswith("SASL"):
            found |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return found

    def _context(self) -> ssl.SSLContext:
        names = [name for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile") if getattr(self, name)]
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                # A function, as without one OpenSSL would ask at the terminal for the password of a key that has one.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, lambda: self.ssl_key_password or "")
            return context
        except (OSError, ssl.SSLError) as error:  # an SSLError is an OSError; the type says which
            told = ", ".join(f"{name}={getattr(self, name)}" for name in names)
            raise ConfigError(f"Kafka: cannot use {told}: {error}; expected readable PEM files, and the key's password") from None


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"Kafka: {name}={value!r}; expected one of {', '.join(filter(None, choices))}")


def from_options(options: dict[str, str], environ: Mapping[str, str], username: str | None, password: str | None) -> Security:
    """What the options of a URL say, which are taken out of there, and else the environment, as ``RXSTREAMS_KAFKA_…``."""

    def given(name: str) -> Any:
        return options.pop(name, None) or environ.get(f"RXSTREAMS_KAFKA_{name.upper()}") or None

    allow = given("allow_plaintext_password")
    _one_of("allow_plaintext_password", allow, (None, "yes", "no"))
    return Security(
        given("security_protocol"),
        given("sasl_mechanism") or "SCRAM-SHA-512",
        username or environ.get("RXSTREAMS_KAFKA_USERNAME") or None,
        password or environ.get("RXSTREAMS_KAFKA_PASSWORD") or None,
        given("ssl_cafile"),
        given("ssl_certfile"),
        given("ssl_keyfile"),
        environ.get("RXSTREAMS_KAFKA_SSL_KEY_PASSWORD") or None,
        allow == "yes",
    )
