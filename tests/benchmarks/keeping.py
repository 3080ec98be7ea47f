"""The store: following the table, opening, memory, small batches, evaluation."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery, Labelled, Vectors
from store.evaluation.metrics import evaluate
from store.mirror import disk_cache
from store.schema import Integers
from tests.benchmarks.timing import (
    best_of,
    cpu_seconds,
    filled,
    heading,
    in_turns,
    judge,
    line,
    memory_mib,
    rows_of,
    seconds,
)
from tests.store.rows import mirror_of, random_vectors, table_of, unit


def following(rows: int, dimension: int) -> None:
    heading(f"Following the table, {rows:,} x {dimension}")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(folder, rows, dimension)
        gallery.refresh()
        judge("refresh, unchanged", 1000 * best_of(gallery.refresh), 5, "ms")
        times = []
        for seed in range(3):
            gallery.upsert(rows_of(1000, dimension, 10**6 + seed))
            times.append(seconds(gallery.refresh))
        judge("refresh after 1,000 new rows", 1000 * min(times), 500, "ms")
        mirror_memory(folder)


def mirror_memory(folder: str) -> None:
    found = in_child("memory", folder)
    judge(
        f"peak memory of building a mirror, {found['rows']:,} rows",
        found["peak"] / found["vectors"],
        1.4,
        "x its vectors",
    )


def memory(folder: str) -> dict[str, float]:
    """Build a mirror in a process of its own: how much memory it took at most, MiB."""
    import faiss

    from store.mirror import build
    from store.table import opening

    handle = opening.open_(folder)
    faiss.IndexFlatIP(2)  # loads the library
    before = memory_mib()
    made = build.build(handle, Gallery.open(folder).stamp.dimension)
    peak = memory_mib(peak=True) - before
    return {"peak": peak, "vectors": made.vectors.nbytes / 2**20, "rows": made.count}


def opening(folder: str) -> None:
    """Of a gallery that is there: with its saved mirror, and without."""
    gallery = Gallery.open(folder)
    rows, dimension = table_of(gallery).count_rows(), gallery.stamp.dimension
    heading(f"Opening, {rows:,} x {dimension}")
    gallery.optimize()
    gallery.refresh()
    snapshot = mirror_of(gallery)
    disk_cache.save(folder, snapshot)
    del gallery, snapshot
    times = [in_child("first_search", folder)["seconds"] for _ in range(3)]
    judge("open with saved mirror, first search", min(times), 0.3, "s")
    disk_cache.discard(folder)
    found = [in_child("rebuild", folder) for _ in range(3)]
    took, bare = (min(one[name] for one in found) for name in ("ours", "bare"))
    judge("mirror built from the table", took / bare, 2, "x bare column scan", took)
    mirror_memory(folder)


def first_search(folder: str) -> dict[str, float]:
    """Open with the saved mirror and search once, as a new process does after its imports."""
    import faiss
    import lancedb

    _ = faiss, lancedb
    query = random_vectors(1, 1, Gallery.open(folder).stamp.dimension)
    return {"seconds": seconds(lambda: Gallery.open(folder).search(query, 10))}


def rebuild(folder: str) -> dict[str, float]:
    """Build without the saved mirror beside a bare scan of the column, in turns."""
    from store.mirror import build

    gallery = Gallery.open(folder)
    live = table_of(gallery)

    def scan() -> None:
        for _ in live.search().select(["embedding"]).limit(None).to_batches():
            pass

    return in_turns({"bare": scan, "ours": lambda: build.build(live, gallery.stamp.dimension)}, 3)


def small_batches(count: int = 500, size: int = 20, dimension: int = 512) -> None:
    heading(f"{count} batches of {size} rows beside one batch, {dimension} dimensions")
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(count * size, dimension, 1)
        one = Gallery.create(f"{folder}/one", filled(f"{folder}/x", 1, dimension).stamp)
        one.upsert(rows)
        many = Gallery.create(f"{folder}/many", one.stamp)
        took = []
        for start in range(0, count * size, size):
            part = rows[start : start + size]
            took.append(seconds(lambda: many.upsert(part)))  # noqa: B023
        line("one small batch, median", float(np.median(took)))
        line("  the slowest, with maintenance", max(took))
        one = many = None  # type: ignore[assignment]
        sizes = {name: disk(Path(folder, name)) for name in ("one", "many")}

        def scan(name: str) -> None:
            live = table_of(Gallery.open(f"{folder}/{name}"))
            live.search().select(["embedding"]).limit(None).to_arrow()

        times = in_turns({name: lambda name=name: scan(name) for name in ("one", "many")}, 9)
        ratio = sizes["many"] / sizes["one"]
        judge("bytes on disk", ratio, 2, "x one batch")
        slow = times["many"]
        judge("open and scan", slow / times["one"], 1.3, "x one batch", slow)


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def leave_one_out(rows: int, dimension: int = 128) -> None:
    heading(f"Leave-one-out P@10, {rows:,} x {dimension}")
    found = in_child("loo", f"{rows}x{dimension}")
    ratio = found["ours"] / found["bare"]
    judge("leave-one-out P@10", ratio, 1.5, "x bare blocked product", found["ours"])
    judge("  memory at most", found["peak"], 1500, "MiB")
    found = in_child("loo_of_patients", f"{rows}x{dimension}")
    ratio = found["patients"] / found["films"]
    judge("  patients left out (1 to 10 films, some 200)", ratio, 1.3, "x CPU time without")
    judge("  films of a patient alike", found["alike"] / found["films"], 1.3, "x without")
    judge("  one patient with a tenth of all", found["giant"] / found["films"], 1.3, "x without")
    judge("  memory on top at most", found["peak"] - found["before"], 100, "MiB")


def loo_of_patients(shape: str) -> dict[str, float]:
    """CPU time of leave-one-out P@10 with patients left out, and without; nothing else differs."""
    rows, dimension = map(int, shape.split("x"))
    random = np.random.default_rng(2)
    sizes = random.integers(1, 11, rows)
    sizes[::500] = 200
    whose = np.repeat(np.arange(rows), sizes)[:rows]
    whose = random.permutation(whose)
    centres = random_vectors(rows, 3, dimension)[whose]
    giant = np.where(random.random(rows) < 0.1, rows, whose)
    ids, labels = [f"{i:07d}" for i in range(rows)], [(f"{i % 3}",) for i in range(rows)]

    def films(vectors: Vectors, groups: Integers | None) -> Labelled:
        names = None if groups is None else [f"{one}" for one in groups]
        return Labelled(ids, vectors, labels, None, None, names, "patient")

    vectors = random_vectors(rows, 1, dimension)
    alike = unit(centres + 0.05 * vectors)
    cases = {
        "films": films(vectors, None),
        "patients": films(vectors, whose),
        "alike": films(alike, whose),
        "giant": films(vectors, giant),
    }

    def measured(name: str) -> float:
        asked = cases[name]
        return cpu_seconds(lambda: evaluate("loo", asked, asked, [10], 0, full_ranking=False))

    measured("films")
    before = memory_mib(peak=True)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(2):
        for name, taken in times.items():
            taken.append(measured(name))
    peak = memory_mib(peak=True)
    return {"before": before, "peak": peak, **{name: min(one) for name, one in times.items()}}


def loo(shape: str) -> dict[str, float]:
    rows, dimension = map(int, shape.split("x"))
    vectors = random_vectors(rows, 1, dimension)
    labels = [("a",) if i % 3 else ("b",) for i in range(rows)]
    everyone = Labelled([f"{i:07d}" for i in range(rows)], vectors, labels)
    took = seconds(lambda: evaluate("loo", everyone, everyone, [10], 0, full_ranking=False))
    peak = memory_mib(peak=True)

    def bare() -> None:
        for start in range(0, rows, 256):
            _ = vectors[start : start + 256] @ vectors.T

    return {"ours": took, "bare": seconds(bare), "peak": peak}


CHILDREN: dict[str, Callable[[str], dict[str, Any]]] = {
    one.__name__: one for one in (memory, first_search, rebuild, loo, loo_of_patients)
}


def in_child(what: str, argument: str) -> dict[str, Any]:
    """What one of CHILDREN finds in a new process, for its memory or its cold start."""
    command = [sys.executable, "-m", "tests.benchmarks", "--child", what, argument]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
