"""Four processes on one SQLite file under load: a shop that appends, two pipelines, and a reader of a published view."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.files import query
from tests.crash.processes import ended, numbered, offsets, on, start, topic

COMMIT_WITHIN = 1.0
PAUSE_AT_MOST = 1.0


@pytest.mark.parametrize(
    "seconds", [10, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(200)])], ids=["10 s", "60 s"]
)
def test_four_processes_share_a_file(tmp_path: Path, seconds: int) -> None:
    """Nothing is ever locked, no commit takes a second, no writer starves, and every total is exact."""
    path = tmp_path / "shop.db"
    on(path, lambda broker: broker.create_topic("in", 2))
    pipelines = {app: start("consume", path, app) for app in ("ann", "bob")}
    shop = start("shop", path, seconds)
    reader = start("watch", path, "ann", seconds)
    posted, seen = figures(shop, within=seconds + 30), figures(reader, within=seconds + 30)
    kept = {app: figures(process) for app, process in pipelines.items()}
    report = {"shop": posted, "reader": seen, **kept}
    print("\n" + "\n".join(f"{who:6} {json.dumps(what)}" for who, what in report.items()))

    total = posted["acknowledged"]
    assert {app: (one["records"], one["restarts"]) for app, one in kept.items()} == dict.fromkeys(kept, (total + 64, 0))
    assert {who: what["longest"] < COMMIT_WITHIN for who, what in report.items()} == dict.fromkeys(report, True), report
    assert {who: what["pause"] < PAUSE_AT_MOST for who, what in report.items()} == dict.fromkeys(report, True), report
    assert {who: what["writes"] >= seconds for who, what in report.items()} == dict.fromkeys(report, True), report
    assert (seen["falls"], 0 < seen["last"] <= total) == (0, True)

    orders = [event for event in [*topic(path, "in"), *topic(path, "in", 1)] if event["part"] != "end"]
    assert len(orders) == total
    amounts = sum(event["amount"] for event in orders)
    for app in kept:
        assert view(path, app, "all") == [{"key": None, "n": total, "total": amounts}]
        assert sum(row["n"] for row in view(path, app, "users")) == total
        copied = numbered(topic(path, f"{app}.out"))
        assert {part: sorted(seqs) for part, seqs in copied.items()} == numbered(sorted([e["part"], e["seq"]] for e in orders))
        assert sum(offsets(path, app).values()) == total + 64
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def figures(process: Any, *, within: float = 30.0) -> dict[str, Any]:
    """The last words of a process that has ended well, and has not complained of a lock."""
    out, errors = ended(process, within=within)
    assert "locked" not in errors
    return json.loads(out)  # type: ignore[no-any-return]


def view(path: Path, app: str, name: str) -> list[Any]:
    """The rows of a published view."""

    async def read(broker: Any) -> list[Any]:
        return [json.loads(value) for _, value in (await broker.read_table(f"{app}.view.{name}")).rows]

    return on(path, read)
