"""DuckDB as an oracle: of a million records in disorder, each window's aggregates are what SQL makes of the same lines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Broker
from rxstreams.windows import Windows
from tests.laws.harness import filled

RECORDS = 1_000_000
KEYS = 200
BEGIN = 1_700_000_000_123
DISORDER = 3000
"""Milliseconds by which records come late at most."""


class Order(msgspec.Struct):
    """A record."""

    key: str
    stamp: int
    x: int


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Broker]]:
    """A million records of 200 keys, two seconds between those of a key, more or less: as DuckDB's table and as a topic."""
    rng = random.Random(20_260_116).random
    now, lines = float(BEGIN), []
    for _ in range(RECORDS):
        now += rng() * 20
        key, stamp, x = int(rng() ** 2 * KEYS), int(now - rng() * DISORDER), int(rng() * 2001) - 1000
        lines.append(b'{"key":"k%d","stamp":%d,"x":%d}' % (key, stamp, x))
    path = tmp_path_factory.mktemp("orders") / "orders.ndjson"
    path.write_bytes(b"\n".join(lines))
    columns = "{key: 'VARCHAR', stamp: 'BIGINT', x: 'BIGINT'}"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE orders AS FROM read_json('{path}', format='newline_delimited', columns={columns})")
        yield connection, asyncio.run(filled({"orders": lines}, 4))


Rows = list[tuple[Any, ...]]


def engine(broker: Broker, over: Windows) -> Rows:
    """What a run makes of the topic, none of it late."""
    results: list[Any] = []
    late: list[Any] = []
    counted = rxs.from_topic("orders", Order, timestamp="stamp", out_of_orderness=DISORDER / 1000, until="end").pipe(
        ops.key_by("key"), ops.windowed(over, n=agg.count(), total=agg.sum("x"), least=agg.min("x"), most=agg.max("x"))
    )

    async def main() -> None:
        streams = counted.pipe(ops.do_action(results.append)), counted.late.pipe(ops.do_action(late.append))
        async with rxs.start(*streams, app=f"oracle {over}", broker=broker, commit_interval=2.0) as running:
            await running.wait()

    asyncio.run(main())
    assert late == []
    return sorted((one.key, one.start, one.end, one.n, one.total, one.least, one.most) for one in results)


TUMBLING = """
    SELECT key, stamp - stamp % 60000 AS s, s + 60000, count(*), sum(x)::BIGINT, min(x), max(x)
    FROM orders GROUP BY key, s ORDER BY key, s
"""
HOPPING = """
    SELECT key, s, s + 40000, count(*), sum(x)::BIGINT, min(x), max(x)
    FROM (SELECT *, unnest(range(stamp - (stamp - 7000) % 15000, stamp - 40000, -15000)) AS s FROM orders)
    GROUP BY key, s ORDER BY key, s
"""
SESSIONS = """
    WITH steps AS (
        SELECT *, lag(stamp) OVER each AS before FROM orders WINDOW each AS (PARTITION BY key ORDER BY stamp)
    ), numbered AS (
        SELECT *, count(*) FILTER (before IS NULL OR stamp - before >= 5000 OR stamp // 600000 <> before // 600000)
        OVER (PARTITION BY key ORDER BY stamp ROWS UNBOUNDED PRECEDING) AS session FROM steps
    )
    SELECT
        key, min(stamp) AS s, least(max(stamp) + 5000, (s // 600000 + 1) * 600000), count(*), sum(x)::BIGINT, min(x), max(x)
    FROM numbered GROUP BY key, session ORDER BY key, s
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "query"),
    [(rxs.tumbling(60), TUMBLING), (rxs.hopping(40, 15, offset=7), HOPPING), (rxs.session(5, max=600), SESSIONS)],
    ids=["tumbling", "hopping", "sessions"],
)
def test_windows_of_a_million_records_are_those_of_sql(
    orders: tuple[duckdb.DuckDBPyConnection, Broker], over: Windows, query: str
) -> None:
    """Count, sum, least and greatest of each key and window are DuckDB's, whatever the disorder below ``out_of_orderness``."""
    connection, broker = orders
    expected = connection.sql(query).fetchall()
    assert len(expected) > 20_000
    assert engine(broker, over) == expected
