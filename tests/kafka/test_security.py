"""TLS and SASL: what connects, what is said where it does not, and that no secret is ever said."""

import logging
import ssl
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka.protocol.admin import SaslAuthenticateRequest_v0
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers import Broker, Record, connect
from rxstreams.errors import AuthorizationError, BrokerError
from rxstreams.testing.brokers import read_all
from tests.servers.kafka import free_port, running

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.timeout(120)]

SECRET = "t0p-s3cret"
SETTINGS = """\
listeners=PLAINTEXT://127.0.0.1:{{port}},SSL://127.0.0.1:{ssl},MUTUAL://127.0.0.1:{mutual},SASL_PLAINTEXT://127.0.0.1:{sasl},\
SASL_SSL://127.0.0.1:{both},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SSL://127.0.0.1:{ssl},MUTUAL://127.0.0.1:{mutual},\
SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{both}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,\
CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mutual.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{jaas}
"""
PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="{secret}";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Secured:
    """A broker with a port for each way to connect, and what clients need for that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("ssl", "mutual", "sasl", "both")}
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other.pem")
        for name, cert in (("server", authority.issue_cert("127.0.0.1")), ("client", authority.issue_cert("ann@shop"))):
            # Kafka reads keys as PKCS #8 only.
            key = load_pem_private_key(cert.private_key_pem.bytes(), None)
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / f"{name}.pem").write_bytes(pem + b"".join(blob.bytes() for blob in cert.cert_chain_pems))
        self.users = [f"SCRAM-SHA-{n}=[name=ann,password={SECRET}]" for n in (256, 512)]
        logins = {"plain": PLAIN.format(secret=SECRET), "scram-sha-256": SCRAM, "scram-sha-512": SCRAM}
        jaas = [
            f"listener.name.{listener}.{mechanism}.sasl.jaas.config={login}"
            for listener in ("sasl_plaintext", "sasl_ssl")
            for mechanism, login in logins.items()
        ]
        self.settings = SETTINGS.format(folder=folder, jaas="\n".join(jaas), **self.ports)

    def url(self, port: str, *options: str, login: str = "") -> str:
        """A broker's URL."""
        told = "&".join(options).format(folder=self.folder)
        return f"kafka://{login}127.0.0.1:{self.ports[port]}?{told}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker, running."""
    one = Secured(tmp_path_factory.mktemp("secured"))
    with running(one.folder / "kafka", settings=one.settings, users=one.users) as server:
        one.ports["plain"] = server.port
        for kind in ("topic", "group"):  # what has a list is nobody else's
            words = ("--add", "--allow-principal", "User:bob", "--operation", "All", f"--{kind}", "secret")
            server.tool("org.apache.kafka.tools.AclCommand", "--bootstrap-server", server.address, *words)
        yield one


ANN = f"ann:{SECRET}@"
CA = "ssl_cafile={folder}/ca.pem"
WAYS = {
    "TLS": ("ssl", [CA], ""),
    "TLS with a certificate of the client's": ("mutual", [CA, "ssl_certfile={folder}/client.pem"], ""),
    "SCRAM": ("sasl", ["security_protocol=SASL_PLAINTEXT"], ANN),
    "SCRAM-SHA-256 and TLS": ("both", ["sasl_mechanism=SCRAM-SHA-256", CA], ANN),
    "PLAIN and TLS": ("both", ["sasl_mechanism=PLAIN", CA], ANN),
    "PLAIN, asked for": (
        "sasl",
        ["security_protocol=SASL_PLAINTEXT", "sasl_mechanism=PLAIN", "allow_plaintext_password=yes"],
        ANN,
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_an_app_runs_whichever_way_it_connects(secured: Secured, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Reading, appending, committing; and at DEBUG no log has the password."""
    caplog.set_level(logging.DEBUG)
    port, options, login = WAYS[way]
    broker = connect(secured.url(port, *options, login=login))
    await broker.start()
    try:
        name = f"in.{abs(hash(way))}"
        await broker.append(name, [Record(b"1"), Record(b"2")])
        copied = rxs.from_topic(name, int, until="end").pipe(ops.map(lambda n: n * 10), ops.to_topic(f"{name}.out"))
        async with rxs.start(copied, app=name, broker=broker) as running:
            await running.wait()
        assert [value for read in await read_all(broker, f"{name}.out") for value in read.values] == [b"10", b"20"]
    finally:
        await broker.stop()
    assert caplog.records
    told = {name: value for name, value in vars(broker).items() if name != "_options"}
    _has_no_secret(caplog.text, repr(broker), repr(told), repr(vars(running)))


def _has_no_secret(*texts: str) -> None:
    for text in texts:
        assert SECRET not in text
        assert "n=ann,r=" not in text  # a SCRAM exchange


WRONG = {
    "certificate of another authority": ("ssl", ["ssl_cafile={folder}/other.pem"], "", "not trusted .*ssl_cafile names who"),
    "no certificate of the client's": ("mutual", [CA], "", "ssl_certfile"),
    "no TLS to a port with TLS": ("ssl", [], "", "perhaps it expects another security_protocol"),
    "TLS to a port without": ("plain", [CA], "", "perhaps it expects another security_protocol"),
    "no user to a port with SASL": ("sasl", [], "", "perhaps it expects another security_protocol"),
    "a user to a port without SASL": (
        "plain",
        ["security_protocol=SASL_PLAINTEXT"],
        ANN,
        "asks nobody for a user; perhaps it expects another security_protocol",
    ),
    "wrong password": ("both", [CA], "ann:t0p-s3crets@", "refused the user or the password"),
    "wrong password by PLAIN": ("both", [CA, "sasl_mechanism=PLAIN"], "ann:t0p-s3crets@", "refused the user or the password"),
    "unknown user": ("sasl", ["security_protocol=SASL_PLAINTEXT"], f"bob:{SECRET}@", "refused the user or the password"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("wrong", WRONG)
async def test_what_does_not_connect_says_why(secured: Secured, wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    """With the remedy, and without a secret."""
    caplog.set_level(logging.DEBUG)
    port, options, login, message = WRONG[wrong]
    broker: Broker = connect(secured.url(port, *options, login=login))
    with pytest.raises(BrokerError, match=message) as caught:
        await broker.start()
    _has_no_secret(caplog.text, "".join(traceback.format_exception(caught.value)))


def test_the_client_would_tell_the_password_at_debug(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the grep of the other tests can fail: the request as the client logs it, and our filter before that log."""
    request: Any = SaslAuthenticateRequest_v0(f"\0ann\0{SECRET}".encode())
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("aiokafka.conn")
    with monkeypatch.context() as without:
        without.setattr(log, "filters", [])
        log.debug("%s", request)
    assert SECRET in caplog.text
    caplog.clear()
    connect("kafka://one")
    log.debug("%s", request)
    assert SECRET not in caplog.text


def test_tls_checks_host_names(secured: Secured) -> None:
    """A certificate for another name is not taken."""
    broker: Any = connect(secured.url("ssl", CA))
    context = broker._options["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.asyncio
async def test_what_the_user_may_not_do_is_said_at_once(secured: Secured) -> None:
    """Of topics and of groups; it is no reason to try again."""
    broker = connect(secured.url("sasl", "security_protocol=SASL_PLAINTEXT", login=ANN))
    await broker.start()
    try:
        with pytest.raises(AuthorizationError, match=r"'secret': TopicAuthorizationFailedError.* docs/kafka.md lists"):
            await broker.append("secret", [Record(b"1")])
        with pytest.raises(AuthorizationError, match="'secret': GroupAuthorizationFailedError"):
            await broker.committed("secret")
        stream = rxs.from_topic("secret", int).pipe(ops.to_topic("out"))
        with pytest.raises(AuthorizationError):
            async with rxs.start(stream, app="curious", broker=broker) as running:
                await running.wait()
        assert running.statistics.restarts == 0
    finally:
        await broker.stop()
