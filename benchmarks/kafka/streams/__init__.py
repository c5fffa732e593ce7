"""The compiled peer of K2 on Kafka Streams, whose jars Maven fetches once into a cache outside of the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.kafka import jars

HERE = Path(__file__).parent


def compiled(folder: Path) -> list[str]:
    """Compile the peer into a folder; the command that runs it, less its arguments."""
    path = jars(HERE / "pom.xml")
    done = subprocess.run(
        ["javac", "-cp", path, "-d", str(folder), str(HERE / "K2.java")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"javac failed: {done.stdout}{done.stderr}")
    return ["java", "-cp", f"{folder}:{path}", "K2"]
