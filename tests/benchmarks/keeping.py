"""The store: following the table, opening, memory, small batches, many readers, evaluation."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from store import Gallery, Labelled, saved
from store.evaluation import evaluate
from tests.benchmarks.timing import (
    best_of,
    filled,
    heading,
    in_turns,
    line,
    memory_mib,
    rows_of,
    seconds,
)
from tests.store.rows import random_vectors


def following(rows: int, dimension: int) -> None:
    heading(f"Following the table, {rows:,} x {dimension}")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(folder, rows, dimension)
        gallery.refresh()
        line("refresh, unchanged", best_of(gallery.refresh), bar="bar 5 ms")
        times = []
        for seed in range(3):
            gallery.upsert(rows_of(1000, dimension, 10**6 + seed))
            times.append(seconds(gallery.refresh))
        line("refresh after 1,000 new rows", min(times), bar="bar 500 ms")
        in_child("memory", folder)


def memory(folder: str) -> None:
    """Build a mirror in a process of its own and say how much memory it took at most."""
    import faiss

    from store import mirror, table

    handle = table.open_(folder)
    faiss.IndexFlatIP(2)  # loads the library
    before = memory_mib()
    made = mirror.build(handle, Gallery.open(folder).stamp.dimension)
    size = made.vectors.nbytes / 2**20
    most = memory_mib(peak=True) - before
    name = "peak memory of building the mirror"
    print(f"  {name:<52} {most:11.0f} MiB {most / size:7.2f} x its vectors  bar 1.4")


def opening(rows: int, dimension: int) -> None:
    heading(f"Opening, {rows:,} x {dimension}")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(folder, rows, dimension)
        gallery.optimize()
        gallery.refresh()
        saved.save(folder, gallery._current())
        del gallery
        for _ in range(3):
            in_child("first_search", folder)
        saved.discard(folder)
        in_child("rebuild", folder)


def first_search(folder: str) -> None:
    """Open with the saved mirror and search once, as a new process does after its imports."""
    import faiss
    import lancedb

    _ = faiss, lancedb
    query = random_vectors(1, 1, Gallery.open(folder).stamp.dimension)
    took = seconds(lambda: Gallery.open(folder).search(query, 10))
    line("open with saved mirror, first search", took, bar="bar 300 ms")


def rebuild(folder: str) -> None:
    """Build without the saved mirror beside a bare scan of the column."""
    saved._WORTH_SAVING = 1 << 60
    gallery = Gallery.open(folder)

    def scan() -> None:
        for _ in gallery._live.search().select(["embedding"]).limit(None).to_batches():
            pass

    bare = best_of(scan, 3)
    took = seconds(gallery.refresh)
    line("mirror built from the table", took, "bare column scan", bare, "bar 2")


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
            live = Gallery.open(f"{folder}/{name}")._live
            live.search().select(["embedding"]).limit(None).to_arrow()

        times = in_turns({name: lambda name=name: scan(name) for name in ("one", "many")}, 9)
        ratio = sizes["many"] / sizes["one"]
        print(f"  {'bytes on disk':<52} {sizes['many']:14,} {ratio:8.2f} x one batch     bar 2")
        line("open and scan", times["many"], "one batch", times["one"], "bar 1.3")


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def readers(threads: int = 16, batches: int = 50, rows: int = 20_000, dimension: int = 128) -> None:
    heading(f"{threads} threads searching {rows:,} x {dimension} while {batches} batches go in")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(folder, rows, dimension)
        gallery.refresh()
        quiet = _searches(gallery, threads, until=time.perf_counter() + 4)
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks", "--child", "ingest_batches", folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        busy = _searches(gallery, threads, process=writer)
        assert writer.wait() == 0
        gallery.refresh()
        print(f"  {'searches a second, nobody writing':<52} {quiet:11.0f}")
        print(
            f"  {'searches a second, beside the ingestion':<52} {busy:11.0f} {busy / quiet:9.2f} x"
        )
        print(f"  rows {rows:,} -> {len(gallery):,}; errors 0, answers of mixed versions 0")


def _searches(
    gallery: Gallery,
    threads: int,
    until: float = 0.0,
    process: subprocess.Popen[str] | None = None,
) -> float:
    """Searches a second; raises when one failed or was not of one version."""
    stop, failures, counts = threading.Event(), [], [0] * threads

    def work(number: int) -> None:
        query = random_vectors(1, number, gallery.stamp.dimension)
        try:
            while not stop.is_set():
                hits = gallery.search(query, 10)[0]
                scores = [hit.score for hit in hits]
                assert len({hit.row.id for hit in hits}) == 10
                assert scores == sorted(scores, reverse=True)
                assert len({hit.row.patient for hit in hits if hit.row.patient}) <= 1
                counts[number] += 1
        except BaseException as error:
            failures.append(error)

    pool = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    begin = time.perf_counter()
    for one in pool:
        one.start()
    while time.perf_counter() < until or (process is not None and process.poll() is None):
        time.sleep(0.1)
        gallery.refresh()
    took = time.perf_counter() - begin
    stop.set()
    for one in pool:
        one.join()
    if failures:
        raise failures[0]
    return sum(counts) / took


def ingest_batches(folder: str) -> None:
    """Fifty batches that replace the same rows, each of one generation."""
    gallery = Gallery.open(folder)
    print("ready", flush=True)
    for generation in range(50):
        rows = rows_of(200, gallery.stamp.dimension, 7_000_000 + generation, "generation/")
        from dataclasses import replace

        gallery.upsert([replace(row, patient=f"generation {generation}") for row in rows])


def leave_one_out(rows: int, dimension: int = 128) -> None:
    heading(f"Leave-one-out P@10, {rows:,} x {dimension}")
    vectors = random_vectors(rows, 1, dimension)
    labels = [("a",) if i % 3 else ("b",) for i in range(rows)]
    everyone = Labelled([f"{i:07d}" for i in range(rows)], vectors, labels)
    before = memory_mib()
    took = seconds(lambda: evaluate("loo", everyone, everyone, [10], 0, full_ranking=False))
    most = memory_mib(peak=True)

    def bare() -> None:
        for start in range(0, rows, 256):
            _ = vectors[start : start + 256] @ vectors.T

    line("evaluate", took, "bare blocked product", seconds(bare), "bar 1.5")
    print(f"  {'memory at most (before)':<52} {most:11.0f} MiB ({before:.0f})  bar 1,500")


CHILDREN = {
    one.__name__: one for one in (memory, first_search, rebuild, ingest_batches, leave_one_out)
}


def in_child(what: str, argument: str) -> None:
    """Run one of the functions above in a new process, for its memory or its cold start."""
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--child", what, argument], check=True
    )
