"""Search: one query, a batch, a filter, beside every peer on the same vectors."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np

from store import Gallery, Where, copies, mirror, search
from store.mirror import Snapshot
from tests.benchmarks import peers
from tests.benchmarks.timing import best_of, filled, heading, in_turns, judge, line
from tests.store.rows import random_vectors

K = peers.K


def asked_often(gallery: Gallery) -> Snapshot:
    """The snapshot, once it has its 8-bit copy and its metadata in memory, as a dashboard has."""
    now = gallery._current()
    query = random_vectors(1, 7, gallery.stamp.dimension)
    for _ in range(max(copies._ASKED, mirror.asked_often(now.count)) + 1):
        gallery.search(query, K)
    for thread in threading.enumerate():
        if thread.name in ("cxr-codes", "cxr-metadata"):
            thread.join()
    return now


def run(rows: int, dimension: int, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(f"{folder}/store", rows, dimension)
        gallery.refresh()
        heading(f"Search, {rows:,} x {dimension}")
        one, many = exact(gallery)
        others(gallery, Path(folder), one, many, quick)


def exact(gallery: Gallery) -> tuple[float, float]:
    """Ours beside numpy, bare FAISS and the bare product; seconds of one query and of 64."""
    now = gallery._current()
    vectors, index = now.vectors, now.index
    queries = random_vectors(64, 1, gallery.stamp.dimension)
    one = queries[:1]
    plain = peers.numpy_matmul(vectors)
    state = copies._known.setdefault(now, copies._State())
    state.made = True  # so that it is not
    hits = search.nearest(now, one, K)
    first = in_turns(
        {
            "numpy": lambda: plain(one),
            "scan": lambda: search.nearest(now, one, K),
            "join": lambda: search.hits(now, hits),
        },
        3,
        run=20,
    )
    line("one query, the first 32 of a process", first["scan"], "numpy", first["numpy"])
    line("  their join, from the table", first["join"])

    state.made = False
    asked_often(gallery)
    rare = Where(label=("rare",))
    allowed = now.positions_of(rare)
    took = in_turns(
        {
            "numpy": lambda: plain(one),
            "faiss": lambda: index.search(one, K),
            "scan": lambda: search.nearest(now, one, K),
            "whole": lambda: gallery.search(one, K),
            "scan 10 %": lambda: search.nearest(now, one, K, allowed),
            "whole 10 %": lambda: gallery.search(one, K, rare),
        },
        4,
        run=25,
    )
    ours = took["scan"]
    judge("one query, search only", ours / took["numpy"], 0.95, "x numpy", ours)
    judge("  the same, stretch", ours / took["numpy"], 0.6, "x numpy", ours)
    line("  one IndexFlatIP", took["faiss"], "numpy", took["numpy"])
    line("Gallery.search, with join", took["whole"])
    judge("  more than bare FAISS", 1000 * (took["whole"] - took["faiss"]), 5, "ms")
    line("  more than our scan", took["whole"] - ours)
    judge("10 % filter, search only", took["scan 10 %"] / ours, 0.5, "x unfiltered")
    line("  with join", took["whole 10 %"], "unfiltered", took["whole"])

    many = in_turns(
        {
            "numpy": lambda: plain(queries),
            "sgemm": lambda: queries @ vectors.T,
            "faiss": lambda: index.search(queries, K),
            "scan": lambda: search.nearest(now, queries, K),
            "whole": lambda: gallery.search(queries, K),
        },
        6,
        run=6,
    )
    ours = many["scan"]
    judge("64 queries, search only", ours / many["numpy"], 0.6, "x numpy", ours)
    judge("  the same", ours / many["sgemm"], 1.5, "x bare sgemm", ours)
    line("  one IndexFlatIP", many["faiss"], "numpy", many["numpy"])
    line("  with join", many["whole"])
    truth = plain(queries)
    for name, asked in (("64 at once", [queries]), ("one by one", queries[:, None])):
        found = [row[0] for part in asked for row in search.nearest(now, part, K)]
        judge(f"recall@10, {name}", recall(np.asarray(found), truth), 1, "", least=True)
    return took["scan"], ours


def others(gallery: Gallery, folder: Path, one: float, many: float, quick: bool) -> None:
    """Every peer on the same vectors."""
    now = gallery._current()
    queries = random_vectors(64, 1, gallery.stamp.dimension)
    truth = peers.numpy_matmul(now.vectors)(queries)
    heading(f"Peers on the same vectors; ours takes {1e3 * one:.2f} ms, for 64 {1e3 * many:.1f} ms")
    print(f"  {'':<36} {'one query':>20} {'64 queries':>22}  recall@10  ready in")
    for name, peer, made in peers.all_of(now.vectors, folder, not quick):
        if isinstance(peer, str):
            print(f"  {name:<36} {peer}")
            continue
        alone = best_of(lambda peer=peer: peer(queries[:1]), 5)
        batch = best_of(lambda peer=peer: peer(queries), 2)
        print(
            f"  {name:<36} {1e3 * alone:9.2f} ms {alone / one:6.1f} x "
            f"{1e3 * batch:10.1f} ms {batch / many:6.1f} x  {recall(peer(queries), truth):9.3f}"
            f"  {made:6.1f} s",
            flush=True,
        )
        if name == peers.LANCE_FLAT:
            judge("one query against LanceDB's flat search", alone / one, 15, "x", least=True)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    hits = (len(set(mine) & set(theirs)) for mine, theirs in zip(found, truth, strict=True))
    return sum(hits) / truth.size
