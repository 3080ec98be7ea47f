"""What counting costs: a replace of 500 rows among 100,000, against another build of this project.

Run as ``python -m tests.benchmarks.replacing --against FOLDER``, the folder being a checkout of the
other build. Both builds take turns on galleries of their own, so that a busy machine hurts both.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from store import EncoderStamp, Gallery, Row

HERE = Path(__file__).resolve().parent.parent.parent
_PIECE = 20_000
_BAR = 1.1


def rows_of(places: np.ndarray, dimension: int, seed: int, batch: str) -> list[Row]:
    vectors = np.random.default_rng(seed).normal(size=(len(places), dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Row(
            id=f"set/test/{place:07d}",
            sha256=hashlib.sha256(vector.tobytes()).digest(),
            embedding=vector,
            labels=("normal",),
            split="test",
            dataset="set",
            batch=batch,
            thumbnail=b"\x89PNG\r\n\x1a\n" + bytes(2000),
        )
        for place, vector in zip(places, vectors.astype(np.float32), strict=True)
    ]


def fill(folder: str, count: int, dimension: int) -> None:
    gallery = Gallery.create(folder, EncoderStamp("bench", "ab" * 32, dimension))
    for start in range(0, count, _PIECE):
        places = np.arange(start, min(start + _PIECE, count))
        gallery.upsert(rows_of(places, dimension, start, "first"))
    gallery.optimize()


def work(folder: str, count: int, dimension: int, size: int, turns: int) -> None:
    """In a process of its own: seconds of each replace and each correction, to stdout.

    The gallery is filled by the same build if it is not there: another one may not read it.
    """
    if not Path(folder).exists():
        fill(folder, count, dimension)
    gallery = Gallery.open(folder)
    chance = np.random.default_rng(os.getpid())
    for turn in range(turns + 1):
        places = chance.choice(count - 1000, size, replace=False)
        rows = rows_of(places, dimension, turn * 1000 + os.getpid(), f"{os.getpid()}-{turn}")
        begin = time.perf_counter()
        assert gallery.upsert(rows).updated == size
        replaced = time.perf_counter()
        corrected = gallery.update_metadata([replace(row, labels=("mass",)) for row in rows])
        done = time.perf_counter()
        assert corrected == size
        if turn:  # the first one loads libraries
            print(replaced - begin, done - replaced, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="a checkout of the other build")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--replaced", type=int, default=500)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--work", metavar="STORE")
    given = parser.parse_args()
    if given.work:
        work(given.work, given.rows, given.dimension, given.replaced, 3)
        return
    if given.against is None:
        parser.error("--against FOLDER: a checkout of the build to compare with")
    with tempfile.TemporaryDirectory() as folder:
        took: dict[str, list[list[float]]] = {"here": [], "there": []}
        for turn in range(given.rounds):
            order = ["here", "there"] if turn % 2 else ["there", "here"]
            for name in order:
                build = HERE if name == "here" else given.against.resolve()
                done = subprocess.run(
                    [
                        *(sys.executable, __file__, "--work", f"{folder}/{name}"),
                        *("--rows", str(given.rows), "--dimension", str(given.dimension)),
                        *("--replaced", str(given.replaced)),
                    ],
                    cwd=build,
                    env={**os.environ, "PYTHONPATH": str(build)},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                lines = done.stdout.splitlines()
                took[name] += [[float(one) for one in line.split()] for line in lines]
        for place, what in enumerate(("replace", "correction")):
            here, there = (
                statistics.median(one[place] for one in took[name]) for name in ("here", "there")
            )
            ratio = here / there
            verdict = f"bar {_BAR}: {'met' if ratio <= _BAR else 'NOT met'}" if not place else ""
            print(
                f"{what} of {given.replaced} rows among {given.rows:,}: {1e3 * here:.0f} ms, the "
                f"other build {1e3 * there:.0f} ms, {ratio:.2f} times {verdict}"
            )


if __name__ == "__main__":
    main()
