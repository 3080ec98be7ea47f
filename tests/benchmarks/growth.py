"""Growth from 10k to 1M rows: search, ingestion and memory, and the plot for the README."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery, saved, search
from tests.benchmarks.keeping import in_child
from tests.benchmarks.searching import asked_often
from tests.benchmarks.timing import best_of, filled, heading, judge, memory_mib, rows_of, seconds
from tests.store.rows import random_vectors

PLOT = Path(__file__).parent.parent.parent / "docs" / "images" / "scaling.png"
_BATCH, _BATCHES = 1000, 8
_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def run(folder: str, most: int, dimension: int = 128) -> None:
    """Grow one gallery, which is left in the folder, and measure at every size."""
    heading(f"Growth to {most:,} rows of {dimension} dimensions")
    saved._WORTH_SAVING = 1 << 60
    sizes = [size for size in _SIZES if size <= most]
    found: list[dict[str, Any]] = []
    before = 0
    for size in sizes:
        gallery = filled(folder, size - _BATCH * _BATCHES, dimension, before)
        took = []
        for number in range(_BATCHES):  # the last rows up to this size
            rows = rows_of(_BATCH, dimension, 10**7 + size + number, f"grown/{size}/{number}/")
            took.append(seconds(lambda: gallery.upsert(rows)))  # noqa: B023
        before = size
        one = {"rows": size, "upsert": min(took) / _BATCH, **in_child("grown", folder)}
        found.append(one)
        print(
            f"  {size:>9,} rows: one query {1e3 * one['one']:7.2f} ms, of 64 "
            f"{1e3 * one['many'] / 64:6.3f} ms each, upsert {1e6 * one['upsert']:6.1f} us a row, "
            f"memory {one['memory']:6.0f} MiB",
            flush=True,
        )
    if len(found) > 3:
        paces = [one["upsert"] for one in found]
        judge("ingestion per row, slowest size", max(paces) / min(paces), 1.2, "x the fastest")
        rows = np.log([one["rows"] for one in found])
        slope = np.polyfit(rows[1:], np.log([one["one"] for one in found[1:]]), 1)[0]
        judge("one query grows as rows to the power of", float(slope), 1.05, "")
    if most >= _SIZES[-1]:
        plot(found, dimension)


def grown(folder: str) -> dict[str, float]:
    """In a process of its own: seconds of one query and of 64, MiB that the gallery takes."""
    import faiss

    saved._WORTH_SAVING = 1 << 60
    faiss.IndexFlatIP(2)
    gallery = Gallery.open(folder)
    before = memory_mib()
    gallery.refresh()
    now = asked_often(gallery)
    queries = random_vectors(64, 1, gallery.stamp.dimension)
    one = best_of(lambda: search.nearest(now, queries[:1], 10), 15)
    many = best_of(lambda: search.nearest(now, queries, 10), 5)
    time.sleep(0.1)
    return {"one": one, "many": many, "memory": memory_mib() - before}


def plot(found: list[dict[str, Any]], dimension: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [one["rows"] for one in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.loglog(sizes, [1e3 * one["one"] for one in found], "o-", label="one query")
    left.loglog(sizes, [1e3 * one["many"] / 64 for one in found], "s-", label="each of 64 at once")
    left.set(xlabel="rows", ylabel="milliseconds", title=f"Exact search, {dimension} dimensions")
    left.legend(frameon=False)
    right.loglog(sizes, [one["memory"] for one in found], "o-", color="C2", label="whole gallery")
    bare = [4 * dimension * size / 2**20 for size in sizes]
    right.loglog(sizes, bare, "--", color="0.5", label="its vectors alone")
    right.set(xlabel="rows", ylabel="MiB", title="Memory")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=144)
    print(f"  plotted in {PLOT.relative_to(PLOT.parent.parent.parent)}")
