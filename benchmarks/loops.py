"""The hand-written loops that speed is measured against: what a careful engineer would write for one job, and nothing more.

    python loops.py W2 [records]        # prints CPU seconds and a summary of the result

msgspec Struct decode, dict state, watermark = greatest time - 5 s, results on close. User functions are called as a user of a library would have
them called (a lambda for the predicate and the mapping); everything else is inlined. gc.set_threshold(50_000, 20, 100), as the engine does.
Compare in one process run after another, alternating, at least 11 pairs, CPU time; print median and quartiles of the ratio, and wall / CPU.
W1 decode, filter, map, fold · TOT running count and sum per user · W2 tumbling 60 s, 1,000 users · W2b 100,000 users · W3 hopping 60 s every 10 s · W4 orders and payments
within 5 min · W5 dedup, 1 h · W6 sessions, gap 30 s, 100,000 users · W7 three failed payments in 5 min.
"""

import gc
import heapq
import sys
import time
from collections import deque

import msgspec

from benchmarks import data

INF = 1 << 62
FLUSH = True


class Order(msgspec.Struct, gc=False):
    id: str
    user_id: str
    amount: float
    ts: int


class Payment(msgspec.Struct, gc=False):
    order_id: str
    payment_id: str
    user_id: str
    status: str
    ts: int


_do = msgspec.json.Decoder(Order).decode
_dp = msgspec.json.Decoder(Payment).decode


def w1(recs, keep=lambda o: o.amount > 1000, to_vnd=lambda o: o.amount * 24000):
    dec = _do
    n = 0
    total = 0.0
    for b in recs:
        o = dec(b)
        if keep(o):
            n += 1
            total += to_vnd(o)
    return n, total


def totals(recs):
    return totals_into(recs, {})


def totals_into(recs, state):
    dec = _do
    for b in recs:
        o = dec(b)
        s = state.get(o.user_id)
        if s is None:
            state[o.user_id] = [1, o.amount]
        else:
            s[0] += 1
            s[1] += o.amount
    return state


def w2(recs, dec=_do):
    wins = {}
    out = []
    mx = 0
    nxt = INF
    for b in recs:
        o = dec(b)
        ts = o.ts
        w = ts - ts % 60000
        win = wins.get(w)
        if win is None:
            if w + 60000 <= mx - 5000:
                continue
            win = wins[w] = {}
            nxt = min(wins) + 65000
        st = win.get(o.user_id)
        if st is None:
            win[o.user_id] = [1, o.amount]
        else:
            st[0] += 1
            st[1] += o.amount
        if ts > mx:
            mx = ts
            if mx >= nxt:
                for w in sorted(x for x in wins if x + 65000 <= mx):
                    out += [(u, w, c, s) for u, (c, s) in wins.pop(w).items()]
                nxt = min(wins) + 65000 if wins else INF
    if FLUSH:
        for w in sorted(wins):
            out += [(u, w, c, s) for u, (c, s) in wins[w].items()]
    return out


def w3(recs, dec=_do):
    # panes of 10 s, merged on close (what a good engine does)
    panes = {}
    out = []
    mx = 0
    nxt = INF

    def close(end):  # window [end-60s, end)
        acc = {}
        for p in range(end - 60000, end, 10000):
            for u, (c, s) in panes.get(p, {}).items():
                a = acc.get(u)
                if a is None:
                    acc[u] = [c, s]
                else:
                    a[0] += c
                    a[1] += s
        panes.pop(end - 60000, None)
        out.extend([(u, end - 60000, c, s) for u, (c, s) in acc.items()])

    for b in recs:
        o = dec(b)
        ts = o.ts
        p = ts - ts % 10000
        pane = panes.get(p)
        if pane is None:
            pane = panes[p] = {}
            if nxt == INF or p + 10000 < nxt - 5000:
                nxt = p + 10000 + 5000
        st = pane.get(o.user_id)
        if st is None:
            pane[o.user_id] = [1, o.amount]
        else:
            st[0] += 1
            st[1] += o.amount
        if ts > mx:
            mx = ts
            while mx >= nxt:
                close(nxt - 5000)
                nxt += 10000
    if FLUSH:
        while panes:
            close(nxt - 5000)
            nxt += 10000
    return out


def w4(recs, do=_do, dp=_dp):
    left = {}
    right = {}
    lq = deque()
    rq = deque()
    out = []
    m0 = m1 = 0
    nxt = 0
    BOUND = 300_000
    for side, b in recs:  # a key holds one record, or a list once it has two
        if side:
            p = dp(b)
            k = p.order_id
            ts = p.ts
            o = left.get(k)
            if o is not None:
                if o.__class__ is list:
                    out += [(k, p.payment_id) for x in o if -BOUND <= ts - x.ts <= BOUND]
                elif -BOUND <= ts - o.ts <= BOUND:
                    out.append((k, p.payment_id))
            add(right, k, p)
            rq.append(p)
            if ts <= m1:
                continue
            m1 = ts
        else:
            o = do(b)
            k = o.id
            ts = o.ts
            p = right.get(k)
            if p is not None:
                if p.__class__ is list:
                    out += [(k, x.payment_id) for x in p if -BOUND <= x.ts - ts <= BOUND]
                elif -BOUND <= p.ts - ts <= BOUND:
                    out.append((k, p.payment_id))
            add(left, k, o)
            lq.append(o)
            if ts <= m0:
                continue
            m0 = ts
        wm = (m0 if m0 < m1 else m1) - 10000 - BOUND
        if wm > nxt:  # evict once per second of event time
            nxt = wm + 1000
            while lq and lq[0].ts < wm:
                left.pop(lq.popleft().id, None)
            while rq and rq[0].ts < wm:
                right.pop(rq.popleft().order_id, None)
    return out


def add(d, k, v):
    x = d.setdefault(k, v)
    if x is not v:
        if x.__class__ is list:
            x.append(v)
        else:
            d[k] = [x, v]


def w5(recs, dec=_do):
    seen = {}
    q = deque()
    out = []
    mx = 0
    nxt = 0
    for b in recs:
        o = dec(b)
        if o.id in seen:
            continue
        seen[o.id] = o.ts
        q.append(o.id)
        out.append(o)
        ts = o.ts
        if ts > nxt:
            nxt = ts + 1000
            lim = ts - 5000 - 3_600_000
            while q and seen[q[0]] < lim:
                del seen[q.popleft()]
    return out


def w6(recs, dec=_do):
    GAP = 30_000
    st = {}
    out = []
    heap = []
    mx = 0
    for b in recs:
        o = dec(b)
        ts = o.ts
        u = o.user_id
        a = o.amount
        ss = st.get(u)
        if ss is None:
            st[u] = [[ts, ts, 1, a]]
            heapq.heappush(heap, (ts + GAP, u))
        else:
            hit = None
            for s in ss:
                if s[0] - GAP < ts < s[1] + GAP:
                    if hit is None:
                        if ts < s[0]:
                            s[0] = ts
                        if ts > s[1]:
                            s[1] = ts
                        s[2] += 1
                        s[3] += a
                        hit = s
                    else:  # the record bridges two sessions
                        hit[0] = min(hit[0], s[0])
                        hit[1] = max(hit[1], s[1])
                        hit[2] += s[2]
                        hit[3] += s[3]
                        s[2] = 0
            if hit is None:
                ss.append([ts, ts, 1, a])
                heapq.heappush(heap, (ts + GAP, u))
            elif len(ss) > 1:
                ss[:] = [s for s in ss if s[2]]
        if ts > mx:
            mx = ts
            while heap and heap[0][0] <= mx - 5000:
                _, u = heapq.heappop(heap)
                ss = st.get(u, ())
                keep = []
                for s in ss:
                    if s[1] + GAP <= mx - 5000:
                        out.append((u, s[0], s[2], s[3]))
                    else:
                        keep.append(s)
                        heapq.heappush(heap, (s[1] + GAP, u))
                if keep:
                    st[u] = keep
                else:
                    st.pop(u, None)
    if FLUSH:
        out += [(u, s[0], s[2], s[3]) for u, ss in st.items() for s in ss]
    return out


def w7(recs, dec=_dp):
    # event-time order (buffered to the watermark); a match uses up its events
    st = {}
    out = []
    heap = []
    mx = 0

    def feed(ts, u):
        q = st.get(u)
        if q is None:
            q = st[u] = deque(maxlen=3)
        q.append(ts)
        if len(q) == 3 and ts - q[0] < 300_000:
            out.append((u, ts))
            q.clear()

    for b in recs:
        p = dec(b)
        if p.status == "failed":
            heapq.heappush(heap, (p.ts, p.user_id))
        if p.ts > mx:
            mx = p.ts
            while heap and heap[0][0] <= mx - 5000:
                feed(*heapq.heappop(heap))
    while heap:
        feed(*heapq.heappop(heap))
    return out


JOBS = {"W1": w1, "TOT": totals, "W2": w2, "W2b": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7}

if __name__ == "__main__":
    name, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    records = data.inputs(name, n)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    start = time.process_time()
    result = JOBS[name](records)
    took = time.process_time() - start
    print(f"{name}: {len(records):,} records, {took:.3f} s CPU, {len(records) / took:,.0f} records/s, {len(result):,} results")
