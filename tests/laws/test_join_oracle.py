"""DuckDB as an oracle: of 78,000 records in disorder, each join gives what SQL makes of the same lines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import Stream, operators as ops
from rxstreams.brokers import Broker
from tests.laws.harness import filled

RECORDS = 60_000
"""Orders; payments are less than a third."""
KEYS = 8_000
BEGIN = 1_700_000_000_123
DISORDER = 3000
"""Milliseconds by which records come late at most."""

Rows = list[tuple[Any, ...]]


class Item(msgspec.Struct):
    """A record."""

    id: int
    key: str
    stamp: int


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Broker]]:
    """Records of 8,000 keys, four milliseconds apart, as DuckDB's tables and as topics; a key's come in bursts of both sides."""
    rng, sides = random.Random(20_260_117), {}
    for side in ("orders", "payments"):
        now, sides[side] = BEGIN, list[bytes]()
        for n in range(RECORDS):
            now += rng.randrange(9)
            key = (n // 40 + rng.randrange(40)) * 8 % KEYS
            if side == "payments" and rng.random() < 0.7:
                continue  # so that some orders have none
            sides[side].append(b'{"id":%d,"key":"k%d","stamp":%d}' % (n, key, now - rng.randrange(DISORDER)))
    folder = tmp_path_factory.mktemp("join")
    columns = "{id: 'BIGINT', key: 'VARCHAR', stamp: 'BIGINT'}"
    with duckdb.connect() as connection:
        for side, lines in sides.items():
            path = folder / f"{side}.ndjson"
            path.write_bytes(b"\n".join(lines))
            connection.execute(f"CREATE TABLE {side} AS FROM read_json('{path}', format='newline_delimited', columns={columns})")
        yield connection, asyncio.run(filled(sides, 2))


def engine(broker: Broker, join: Callable[[Stream[Any]], Any]) -> list[Any]:
    """What a run makes of the topics, none of it late."""
    results: list[Any] = []
    late: list[Any] = []
    orders, payments = (
        rxs.from_topic(side, Item, timestamp="stamp", out_of_orderness=DISORDER / 1000, until="end").pipe(ops.key_by("key"))
        for side in ("orders", "payments")
    )
    joined = orders.pipe(join(payments))

    async def main() -> None:
        streams = joined.pipe(ops.to_callable(results.append)), joined.late.pipe(ops.to_callable(late.append))
        async with rxs.start(*streams, app=f"oracle-{joined.operation.title}", broker=broker, commit_interval=2.0) as running:
            await running.wait()

    asyncio.run(main())
    assert late == []
    return results


def ids(rows: list[Any]) -> Rows:
    """The numbers of what came out, in order; -1 where one is missing."""
    pairs = [row if isinstance(row, tuple) else (row, None) for row in rows]
    return sorted(tuple(-1 if one is None else one.id for one in pair) for pair in pairs)


def stamps(rows: list[Any]) -> Rows:
    """The left records' numbers and the right ones' times, in order; -1 where one is missing."""
    return sorted((left.id, -1 if right is None else right.stamp) for left, right in rows)


ON = "o.key = p.key AND p.stamp - o.stamp BETWEEN -2000 AND 7000"
JOINS = {
    "inner": f"SELECT o.id, p.id FROM orders o JOIN payments p ON {ON}",
    "left": f"SELECT o.id, p.id FROM orders o LEFT JOIN payments p ON {ON}",
    "right": f"SELECT o.id, p.id FROM orders o RIGHT JOIN payments p ON {ON}",
    "outer": f"SELECT o.id, p.id FROM orders o FULL JOIN payments p ON {ON}",
    "semi": f"SELECT o.id, NULL FROM orders o SEMI JOIN payments p ON {ON}",
    "anti": f"SELECT o.id, NULL FROM orders o ANTI JOIN payments p ON {ON}",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", JOINS)
def test_interval_joins_are_those_of_sql(topics: tuple[duckdb.DuckDBPyConnection, Broker], how: Any) -> None:
    """Not a pair is missing or comes twice, whatever the disorder below ``out_of_orderness``, and all that is alone comes out."""
    connection, broker = topics
    expected = sorted(tuple(-1 if one is None else one for one in row) for row in connection.sql(JOINS[how]).fetchall())
    assert len(expected) > 300
    assert ids(engine(broker, lambda right: ops.interval_join(right, lower=-2, upper=7, how=how))) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("matches", "function"), [("first", "min"), ("last", "max")])
def test_the_first_and_the_last_are_those_of_sql(
    topics: tuple[duckdb.DuckDBPyConnection, Broker], matches: Any, function: str
) -> None:
    """The least and the greatest time of those that an order could have."""
    connection, broker = topics
    query = (
        f"SELECT o.id, coalesce({function}(p.stamp), -1) FROM orders o LEFT JOIN payments p ON {ON} GROUP BY o.id ORDER BY o.id"
    )
    rows = engine(broker, lambda right: ops.interval_join(right, lower=-2, upper=7, how="left", matches=matches))
    assert stamps(rows) == connection.sql(query).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["left", "inner"])
@pytest.mark.parametrize(("direction", "operator"), [("backward", ">="), ("forward", "<=")])
def test_as_of_joins_are_those_of_sql(
    topics: tuple[duckdb.DuckDBPyConnection, Broker], direction: Any, operator: str, how: Any
) -> None:
    """The time of the record that is chosen is that of DuckDB's ``ASOF JOIN``; beyond the tolerance there is none."""
    connection, broker = topics
    query = (
        f"SELECT o.id, p.stamp, o.stamp FROM orders o ASOF LEFT JOIN payments p ON o.key = p.key AND o.stamp {operator} p.stamp"
    )
    found = connection.sql(query).fetchall()
    expected = sorted((one, -1 if at is None or abs(at - stamp) > 5000 else at) for one, at, stamp in found)
    assert sum(at == -1 for _, at in expected) > 400
    if how == "inner":
        expected = [row for row in expected if row[1] != -1]
    assert stamps(engine(broker, lambda right: ops.as_of_join(right, direction=direction, tolerance=5, how=how))) == expected
