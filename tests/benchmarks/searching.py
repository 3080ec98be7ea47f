"""Search: one query, a batch, a filter, beside every peer on the same vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from store import Where, search
from tests.benchmarks import peers
from tests.benchmarks.timing import best_of, filled, heading, in_turns, line
from tests.store.rows import random_vectors


def run(rows: int, dimension: int, quick: bool) -> None:
    heading(f"Search, {rows:,} x {dimension}")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(f"{folder}/store", rows, dimension)
        gallery.refresh()
        now = gallery._current()
        vectors, index = now.vectors, now.index
        queries = random_vectors(64, 1, dimension)
        one = queries[:1]
        rare = Where(label=("rare",))
        allowed = now.positions_of(rare)
        plain = peers.numpy_matmul(vectors)
        truth = plain(queries)

        took = in_turns(
            {
                "numpy": lambda: plain(one),
                "faiss": lambda: index.search(one, peers.K),
                "scan": lambda: search.nearest(now, one, peers.K),
                "whole": lambda: gallery.search(one, peers.K),
                "scan 10 %": lambda: search.nearest(now, one, peers.K, allowed),
                "whole 10 %": lambda: gallery.search(one, peers.K, rare),
            },
            30,
        )
        line(
            "one query, search only", took["scan"], "numpy", took["numpy"], "bar 0.95, stretch 0.6"
        )
        line("  the same by one IndexFlatIP", took["faiss"], "numpy", took["numpy"])
        line("Gallery.search, with join", took["whole"])
        line("  more than bare FAISS", took["whole"] - took["faiss"], bar="bar 5 ms")
        line("  more than our scan", took["whole"] - took["scan"])
        line("10 % filter, search only", took["scan 10 %"], "unfiltered", took["scan"], "bar 0.5")
        line("10 % filter, with join", took["whole 10 %"], "unfiltered", took["whole"], "bar 0.5")

        many = in_turns(
            {
                "numpy": lambda: plain(queries),
                "sgemm": lambda: queries @ vectors.T,
                "faiss": lambda: index.search(queries, peers.K),
                "scan": lambda: search.nearest(now, queries, peers.K),
                "whole": lambda: gallery.search(queries, peers.K),
            },
            8,
        )
        line("64 queries, search only", many["scan"], "numpy", many["numpy"], "bar 0.6")
        line("  the same", many["scan"], "bare sgemm", many["sgemm"], "bar 1.5")
        line("  the same by one IndexFlatIP", many["faiss"], "numpy", many["numpy"])
        line("  with join", many["whole"])
        found = [list(row[0]) for row in search.nearest(now, queries, peers.K)]
        line_recall("ours", recall(np.asarray(found), truth))

        heading("Peers on the same vectors: one query, 64 queries, recall@10")
        for name, peer in peers.all_of(vectors, Path(folder), not quick):
            if isinstance(peer, str):
                print(f"  {name:<52} {peer}")
                continue
            alone = best_of(lambda peer=peer: peer(one), 5)
            batch = best_of(lambda peer=peer: peer(queries), 2)
            line(name, alone, "our one query", took["scan"])
            line("  64 queries", batch, "our 64", many["scan"])
            line_recall("  ", recall(peer(queries), truth))


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    hits = (len(set(mine) & set(theirs)) for mine, theirs in zip(found, truth, strict=True))
    return sum(hits) / truth.size


def line_recall(name: str, value: float) -> None:
    print(f"  {name:<52} recall@10 {value:.3f}")
