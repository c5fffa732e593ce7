"""Seeded input of the benchmarks: orders and payments as JSON bytes, 10 ms apart, disorder under 5 s, 2% duplicates (standard library only)."""

import json
import os
import pickle
import random

T0 = 28333334 * 60000  # 2023-11-14, aligned to a minute
STEP, DISORDER = 10, 5000  # ms
CACHE = os.environ.get("BENCH_CACHE", os.path.join(os.path.expanduser("~"), ".cache", "rxstreams-bench"))


def gen_orders(n, users=1000, seed=7):
    r = random.Random(seed)
    out, nid = [], 0
    for i in range(n):
        base = T0 + i * STEP
        if out and r.random() < 0.02:  # duplicate of one of the last 100 records
            out.append(out[-r.randint(1, min(100, len(out)))])
            continue
        out.append((f"o-{nid}", f"u-{r.randrange(users)}", r.randrange(0, 8000) / 4, base - r.randrange(0, 4000)))
        nid += 1
    return out  # ts > max(ts so far) - 5000 holds for every record


def gen_payments(orders, seed=11):
    """-> [(arrival, order_id, payment_id, user_id, status, ts)] sorted by arrival"""
    r = random.Random(seed)
    seen, out = set(), []
    for oid, uid, amt, ts in orders:
        if oid in seen:
            continue
        seen.add(oid)
        if r.random() < 0.95:
            pts = ts + r.randrange(0, 240_000)
            out.append((pts + r.randrange(0, 4000), oid, "p" + oid[1:], uid, "failed" if r.random() < 0.1 else "ok", pts))
    out.sort()
    return out


def _cached(name, make):
    os.makedirs(CACHE, exist_ok=True)
    p = os.path.join(CACHE, name + ".pkl")
    if os.path.exists(p):
        with open(p, "rb") as f:
            return pickle.load(f)
    v = make()
    with open(p + ".tmp", "wb") as f:
        pickle.dump(v, f, protocol=5)
    os.replace(p + ".tmp", p)
    return v


def _oj(o):
    return b'{"id":"%s","user_id":"%s","amount":%s,"ts":%d}' % (o[0].encode(), o[1].encode(), json.dumps(o[2]).encode(), o[3])


def _pj(p):
    return json.dumps(
        {"order_id": p[1], "payment_id": p[2], "user_id": p[3], "status": p[4], "ts": p[5]}, separators=(",", ":")
    ).encode()


def orders(n, users=1000):
    return _cached(f"orders-{n}-{users}", lambda: [_oj(o) for o in gen_orders(n, users)])


def merged(n, users=1000):
    """Orders and payments merged by arrival: [(0|1, json bytes)]"""

    def make():
        od = gen_orders(n, users)
        a = [(T0 + i * STEP, 0, _oj(o)) for i, o in enumerate(od)]
        a += [(p[0], 1, _pj(p)) for p in gen_payments(od)]
        a.sort(key=lambda x: x[0])
        return [(x[1], x[2]) for x in a]

    return _cached(f"merged-{n}-{users}", make)


def payments(n, users=1000):
    return [b for s, b in merged(n, users) if s]


def ndjson(n, users=1000, which="orders"):
    """Path of an NDJSON file (directory with one file) holding the same bytes"""
    d = os.path.join(CACHE, f"{which}-{n}-{users}.d")
    p = os.path.join(d, "part.json")
    if not os.path.exists(p):
        os.makedirs(d, exist_ok=True)
        rows = {"orders": lambda: orders(n, users), "payments": lambda: payments(n, users)}[which]()
        with open(p + ".tmp", "wb") as f:
            f.write(b"\n".join(rows) + b"\n")
        os.replace(p + ".tmp", p)
    return d


def inputs(w, n):
    """The records one workload reads"""
    if w in ("W2b", "W6"):
        return orders(n, 100_000)
    if w == "W4":
        return merged(n)
    if w == "W7":
        return payments(n)
    return orders(n)
