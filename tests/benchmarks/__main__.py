"""Timings, printed as ratios against a peer measured in the same run: ``make bench``.

Nothing here asserts on a clock. Figures on a shared machine vary by a third; ratios vary less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from store import EncoderStamp, Gallery
from tests.store.rows import make_rows, random_vectors


def best_of(function: Callable[[], object], repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def line(work: str, seconds: float, peer: str = "", peer_seconds: float = 0.0) -> None:
    ratio = f"{seconds / peer_seconds:8.2f} x {peer}" if peer_seconds else ""
    print(f"{work:<58} {1000 * seconds:10.1f} ms {ratio}", flush=True)


def search(rows: int, dimension: int) -> None:
    """One query and a batch against numpy and LanceDB's flat search on the same vectors."""
    with tempfile.TemporaryDirectory() as folder:
        stamp = EncoderStamp("bench", "0" * 64, dimension)
        gallery = Gallery.create(folder, stamp)
        vectors = random_vectors(rows, dimension=dimension)
        begin = time.perf_counter()
        gallery.upsert(make_rows(vectors))
        line(f"upsert {rows:,} x {dimension}", time.perf_counter() - begin)
        begin = time.perf_counter()
        gallery.refresh()
        line("build the mirror", time.perf_counter() - begin)
        line("refresh, unchanged", best_of(gallery.refresh))

        queries = random_vectors(64, seed=1, dimension=dimension)
        index = gallery._current().index
        table = gallery._live

        def numpy_one() -> object:
            scores = vectors @ queries[0]
            return np.argpartition(-scores, 10)[:10]

        def numpy_batch() -> object:
            return np.argpartition(-(queries @ vectors.T), 10, axis=1)[:, :10]

        def lance() -> object:
            return table.search(queries[0]).distance_type("dot").limit(10).to_arrow()

        peers = best_of(numpy_one), best_of(numpy_batch)
        bare = best_of(lambda: index.search(queries[:1], 10))
        whole = best_of(lambda: gallery.search(queries[:1], 10))
        line("one query, FAISS alone", bare, "numpy", peers[0])
        line("one query, Gallery.search with join", whole, "numpy", peers[0])
        line("  of which join, re-scoring and ties", whole - bare)
        line("one query, LanceDB flat", best_of(lance, 3), "Gallery.search", whole)
        batch = best_of(lambda: gallery.search(queries, 10), 3)
        line("64 queries, Gallery.search with join", batch, "numpy", peers[1])


def chain(npz_folder: Path) -> None:
    """What ``cxr demo`` does, step by step, as a user would type it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CXR_STORE": f"{folder}/store"}
        environment["MEDMNIST_ROOT"] = str(npz_folder)
        total = 0.0
        steps = {
            "cxr ingest medmnist:pneumoniamnist": ["ingest", "medmnist:pneumoniamnist", "--json"],
            "cxr evaluate": ["evaluate", "--json"],
            "cxr export": ["export", f"{folder}/out", "--json"],
            "cxr ingest again": ["ingest", "medmnist:pneumoniamnist", "--json"],
            "cxr --help": ["--help"],
        }
        for name, arguments in steps.items():
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "ui.cli", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.perf_counter() - begin
            if done.returncode:
                print(f"{name}: {done.stderr}")
                return
            if "again" not in name and "help" not in name:
                total += seconds
            line(name, seconds)
            if name == "cxr ingest again":
                report = json.loads(done.stdout)
                print("  " + ", ".join(f"{report[key]} {key}" for key in ("inserted", "encoded")))
        line("ingest + evaluate + export", total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--medmnist", type=Path, default=os.environ.get("MEDMNIST_ROOT"))
    arguments = parser.parse_args()
    search(arguments.rows, arguments.dimension)
    if arguments.medmnist:
        chain(arguments.medmnist)
    else:
        print("set MEDMNIST_ROOT to time the whole chain on PneumoniaMNIST")


if __name__ == "__main__":
    main()
