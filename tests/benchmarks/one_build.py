"""The work of ``make bench ARGS=search`` in one build of this project: a child that is told it.

Run as a file, with a build's root in PYTHONPATH, so that two builds do the same work in turns. It
uses what this build and that of commit 54dbb93 have in common. A line of JSON comes in
(``[name, arguments]``), a line of JSON goes out.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import store
from store import Gallery, Labelled

try:
    from store.evaluation.metrics import evaluate
    from store.mirror import build, disk_cache, snapshot
    from store.mirror.snapshot import Snapshot
    from store.search import exact as search
    from store.table.lance import open_version as open_table
except ImportError:  # the layout of commit 54dbb93
    from store import building as build  # type: ignore[attr-defined,no-redef]
    from store import mirror as snapshot  # type: ignore[no-redef]
    from store import saved as disk_cache  # type: ignore[attr-defined,no-redef]
    from store import search  # type: ignore[no-redef]
    from store.evaluation import evaluate  # type: ignore[no-redef,attr-defined]
    from store.mirror import Snapshot  # type: ignore[no-redef,attr-defined]
    from store.table import open_ as open_table  # type: ignore[no-redef,attr-defined]

K = 10
#: Queries after which either build has all that it keeps for a gallery that is asked often.
_OFTEN = 40
_BEHIND = ("cxr-codes", "cxr-metadata", "cxr-second-index")

_now: dict[str, Any] = {}


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _settled() -> None:
    for thread in threading.enumerate():
        if thread.name in _BEHIND:
            thread.join()


def _resident() -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(text.split("VmRSS:")[1].split()[0])


def where() -> str:
    """Which build this is."""
    return str(Path(store.__file__).parent.parent)


def load(vectors: str, queries: str) -> dict[str, float]:
    """A snapshot of vectors in a file, without a table; bytes that it takes."""
    mapped = np.load(vectors, mmap_mode="r")
    try:
        from store.mirror.faiss_index import empty
    except ImportError:
        from store.flat import fresh as empty  # type: ignore[import-not-found,no-redef]
    # Libraries loaded, with the memory that they work in.
    small, rows = empty(4096, mapped.shape[1])
    rows[:] = mapped[:1]
    small.search(np.repeat(mapped[:1], 512, axis=0), K)
    _ = rows.astype(np.float64) @ rows[:256].astype(np.float64).T
    before = _resident()
    index, memory = empty(*mapped.shape)
    for start in range(0, len(mapped), 8192):
        memory[start : start + 8192] = mapped[start : start + 8192]
    del mapped
    numbers = np.arange(len(memory))
    took = _resident() - before
    keys = pa.array([f"{number:07d}" for number in range(len(memory))])
    _now["snapshot"] = Snapshot(None, index, memory, keys, numbers, numbers, 1, "u", "t")
    _now["queries"] = np.load(queries)
    _now["allowed"] = np.flatnonzero(np.random.default_rng(0).random(len(memory)) < 0.1)
    return {"bytes": took, "vectors": memory.nbytes}


def warm() -> dict[str, float]:
    """Ask often, and wait for what that makes; bytes that it takes."""
    before = _resident()
    for number in range(_OFTEN):
        search.nearest(_now["snapshot"], _now["queries"][number % 64 : number % 64 + 1], K)
    _settled()
    return {"bytes": _resident() - before}


def nearest(count: int, times: int, filtered: bool = False) -> float:
    """Seconds of a search for so many queries, without join; the quickest of some."""
    snapshot, queries = _now["snapshot"], _now["queries"]
    allowed = _now["allowed"] if filtered else None
    starts = [0] * times if count > 1 else [number % 64 for number in range(times)]
    return min(
        _seconds(lambda: search.nearest(snapshot, queries[at : at + count], K, allowed))  # noqa: B023
        for at in starts
    )


def flat(count: int, times: int) -> float:
    """Seconds of the index's own search."""
    index, asked = _now["snapshot"].index, _now["queries"][:count]
    return min(_seconds(lambda: index.search(asked, K)) for _ in range(times))


def first(count: int) -> float:
    """Seconds of the first so many queries of this process, one by one."""
    snapshot, queries = _now["snapshot"], _now["queries"]
    return _seconds(
        lambda: [search.nearest(snapshot, queries[at : at + 1], K) for at in range(count)]
    )


def fill(folder: str, vectors: str) -> None:
    """A gallery of vectors in a file: builds do not read each other's tables."""
    found = np.load(vectors, mmap_mode="r")
    made = Gallery.create(folder, store.EncoderStamp("bench", "0" * 64, found.shape[1]))
    for start in range(0, len(found), 50_000):
        made.upsert(
            [
                store.Row(
                    id=f"film/{start + place}",
                    sha256=(start + place).to_bytes(32, "big"),
                    embedding=np.array(vector),
                    labels=("normal", "pneumonia")[place % 2 :][:1],
                    split="test",
                    dataset="films",
                    source=f"films/{start + place}.png",
                )
                for place, vector in enumerate(found[start : start + 50_000])
            ]
        )
    made.optimize()


def gallery(folder: str, queries: str) -> None:
    """A gallery, asked often."""
    _now["gallery"], _now["queries"] = Gallery.open(folder), np.load(queries)
    now = _now["gallery"]
    for number in range(max(_OFTEN, snapshot.asked_often(len(now)) + 1)):
        now.search(_now["queries"][number % 64], K)
    _settled()


def joined(times: int) -> float:
    """Seconds of one query with its join, the quickest of some, each of another query."""
    now, queries = _now["gallery"], _now["queries"]
    return min(_seconds(lambda: now.search(queries[n % 64], K)) for n in range(times))  # noqa: B023


def readers(threads: int, seconds: float) -> float:
    """Answers a second to so many threads that ask at once."""
    now, queries, counts = _now["gallery"], _now["queries"], [0] * threads
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        while time.perf_counter() < end:
            now.search(queries[(number + counts[number]) % 64], K)
            counts[number] += 1

    pool = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    begin = time.perf_counter()
    for one in pool:
        one.start()
    for one in pool:
        one.join()
    return sum(counts) / (time.perf_counter() - begin)


def leave_one_out(vectors: str) -> float:
    """Seconds of P@10."""
    rows = np.load(vectors)
    labels = [("a",) if number % 3 else ("b",) for number in range(len(rows))]
    everyone = Labelled([f"{number:07d}" for number in range(len(rows))], rows, labels)
    return _seconds(lambda: evaluate("loo", everyone, everyone, [K], 0, full_ranking=False))


def save(folder: str) -> None:
    """The mirror of a gallery, for the next process."""
    dimension = Gallery.open(folder).stamp.dimension
    disk_cache.save(folder, build.build(open_table(folder), dimension))


def open_and_ask(folder: str, query: str) -> float:
    """Seconds until the first answer of a gallery whose mirror is saved, after imports."""
    import faiss
    import lancedb

    _ = faiss, lancedb
    asked = np.load(query)[:1]
    return _seconds(lambda: Gallery.open(folder).search(asked, K))


def refresh(folder: str, batch: int) -> float:
    """Seconds to follow a table that got a thousand rows."""
    now = _now.setdefault("followed", Gallery.open(folder))
    now.refresh()
    random = np.random.default_rng(batch)
    vectors = random.normal(size=(1000, now.stamp.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    now.upsert(
        [
            store.Row(f"more/{batch}/{place}", bytes(32), vector.astype(np.float32))
            for place, vector in enumerate(vectors)
        ]
    )
    return _seconds(now.refresh)


def used() -> dict[str, Any]:
    """Which second index answers, if this build can say so."""
    try:
        from store.mirror import second_index
    except ImportError:
        return {}
    made = second_index.known(_now["snapshot"])
    if made is None:
        return {}
    return {"bytes": made.bytes, "quicker": made.quicker, "bounded": made.bounded}


def main() -> None:
    """Do what lines of JSON say until there are no more."""
    work = {name: each for name, each in globals().items() if callable(each)}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(work[name](*arguments)), flush=True)


if __name__ == "__main__":
    main()
