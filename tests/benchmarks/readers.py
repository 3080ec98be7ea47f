"""Many readers: threads that search while another process ingests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace

from store import Gallery
from tests.benchmarks.timing import filled, heading, judge, rows_of
from tests.store.rows import random_vectors
from ui.process import give_way

_BATCHES = 50


def readers(threads: int = 16, rows: int = 20_000, dimension: int = 128) -> None:
    """Searches a second alone, beside an ingestion elsewhere, and beside one into this gallery.

    The ingestion needs a core. Where searches keep all cores busy they lose that share whatever it
    writes to; what following the table costs is told by an equal ingestion into another gallery.
    """
    heading(f"{threads} threads searching {rows:,} x {dimension} while {_BATCHES} batches go in")
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(f"{folder}/here", rows, dimension)
        filled(f"{folder}/elsewhere", rows, dimension)
        gallery.refresh()
        paces: dict[str, list[float]] = {"alone": [], "elsewhere": [], "here": []}
        for _ in range(2):
            paces["alone"].append(_searches(gallery, threads, until=time.perf_counter() + 2.5))
            for name in ("elsewhere", "here"):
                paces[name].append(_beside(gallery, threads, f"{folder}/{name}"))
        gallery.refresh()
        best = {name: max(found) for name, found in paces.items()}
        for name, pace in best.items():
            print(
                f"  searches a second, {'nobody writing' if name == 'alone' else name:<33} "
                f"{pace:14.0f} {pace / best['alone']:8.2f} x alone"
            )
        judge(
            "searching while 50 batches go in here",
            best["here"] / best["elsewhere"],
            0.8,
            "x elsewhere",
            least=True,
        )
        judge("  the same", best["here"] / best["alone"], 0.8, "x alone", least=True)
        print(f"  rows {rows:,} -> {len(gallery):,}; errors 0, answers of mixed versions 0")


def _beside(gallery: Gallery, threads: int, folder: str) -> float:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks", "--child", "ingest_batches", folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    pace = _searches(gallery, threads, process=writer)
    assert writer.wait() == 0
    return pace


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


def ingest_batches(folder: str) -> dict[str, int]:
    """Fifty batches that replace the same rows, each of one generation, as `cxr ingest` writes."""
    give_way()
    gallery = Gallery.open(folder)
    print("ready", flush=True)
    for generation in range(_BATCHES):
        rows = rows_of(200, gallery.stamp.dimension, 7_000_000 + generation, "generation/")
        gallery.upsert([replace(row, patient=f"generation {generation}") for row in rows])
    return {"batches": _BATCHES}
