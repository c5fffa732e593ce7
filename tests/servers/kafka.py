"""A real Kafka broker: from jars that Maven fetches once, into a cache outside of the checkout.

``make kafka`` runs one until Ctrl-C; tests start and stop, freeze and kill their own.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import cyclopts

POM = Path(__file__).parents[2] / "deploy" / "kafka" / "pom.xml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rxstreams"
STARTED = 60.0
"""Seconds within which a broker must be up."""
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
transaction.remove.expired.transaction.cleanup.interval.ms=3600000
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=500
auto.create.topics.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
"""


def jars(pom: Path = POM) -> str:
    """The class path of what a pom names; Maven fetches what is not in the cache."""
    folder = CACHE / f"{pom.parent.name}-{sha256(pom.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may begin at once
        if not folder.exists():
            half = folder.with_suffix(".half")
            command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={half}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"Maven could not fetch what {pom} names: {done.stdout}{done.stderr}")
            half.rename(folder)
    return f"{folder}/*"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class KafkaServer:
    """One broker, which is its own controller.

    Args:
        folder: Where its data is, which stays.
        port: Where it listens; None is a free one.
        advertised: Where it says that it listens, if clients come through a proxy.
        settings: More settings, which go before those here; may name ``{port}``, ``{controller}`` and ``{folder}``.
        users: What users there are by SCRAM, as Kafka's format tool takes them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        advertised: int | None = None,
        settings: str = "",
        users: Sequence[str] = (),
    ) -> None:
        self.folder, self.port, self.users = folder, port or free_port(), users
        self.process: subprocess.Popen[bytes] | None = None
        self.settings = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        where = {"port": self.port, "advertised": advertised or self.port, "controller": free_port(), "folder": folder}
        self.settings.write_text((SETTINGS + settings).format(**where))

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, with the data that is there, and wait until it answers."""
        if not (self.folder / "data").exists():
            users = [word for user in self.users for word in ("--add-scram", user)]
            self.tool("kafka.tools.StorageTool", "format", "-t", "rxstreamsAAAAAAAAAAAAA", "-c", str(self.settings), *users)
        with (self.folder / "kafka.log").open("ab") as log:
            command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars(), "kafka.Kafka"]
            self.process = subprocess.Popen([*command, str(self.settings)], stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + STARTED
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"Kafka did not start: {(self.folder / 'kafka.log').read_text()[-4000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        # Its port is open only when the broker has caught up with its controller and takes requests.
        with socket.socket() as one:
            one.settimeout(1)
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def tool(self, name: str, *arguments: str, given: str | None = None) -> str:
        """Run one of Kafka's own tools, with a text to read; what it printed."""
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", jars(), name, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def send_signal(self, number: signal.Signals) -> None:
        """Freeze it, or wake it."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it without a chance to write anything."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running(folder: Path, **how: Any) -> Iterator[KafkaServer]:
    """A broker for as long as this lasts."""
    server = KafkaServer(folder, **how)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def main(*then: str, port: int | None = None, data: Path | None = None) -> int:
    """Run a broker until Ctrl-C, or for as long as a command runs, which finds it by RXSTREAMS_BROKER.

    Args:
        then: The command, after ``--``.
        port: Where it listens; 9092, or a free one for a command.
        data: Where its data stays; None is nowhere.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the broker ends, too
    with (
        tempfile.TemporaryDirectory() as folder,
        running(data or Path(folder), port=port or (free_port() if then else 9092)) as server,
    ):
        url = f"kafka://{server.address}"
        print(f"RXSTREAMS_BROKER={url}", flush=True)
        try:
            if then:
                return subprocess.run(then, env=os.environ | {"RXSTREAMS_BROKER": url}, check=False).returncode
            assert server.process is not None
            return server.process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
