"""Growth from 10k to 1M rows: search, ingestion and memory, and the plot for the README."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from store import saved
from tests.benchmarks.timing import best_of, filled, heading, rows_of, seconds
from tests.store.rows import random_vectors

PLOT = Path(__file__).parent.parent.parent / "docs" / "images" / "scaling.png"
_BATCH = 1000


def run(most: int, dimension: int = 128) -> None:
    heading(f"Growth to {most:,} rows of {dimension} dimensions")
    sizes = [size for size in (10_000, 30_000, 100_000, 300_000, 1_000_000) if size <= most]
    one, many, ingest, memory = [], [], [], []
    saved._WORTH_SAVING = 1 << 60
    queries = random_vectors(64, 1, dimension)
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            gallery = filled(f"{folder}/{size}", size, dimension)
            gallery.refresh()
            one.append(best_of(lambda gallery=gallery: gallery.search(queries[:1], 10), 15))
            many.append(best_of(lambda gallery=gallery: gallery.search(queries, 10), 4))
            took = []
            for i in range(8):
                rows = rows_of(_BATCH, dimension, 10**7 + i)
                took.append(seconds(lambda: gallery.upsert(rows)))  # noqa: B023
            ingest.append(float(np.median(took)) / _BATCH)
            memory.append(gallery._current().vectors.nbytes / 2**20)
            print(
                f"  {size:>9,} rows: one query {1e3 * one[-1]:8.2f} ms, "
                f"64 {1e3 * many[-1]:8.1f} ms, upsert {1e6 * ingest[-1]:6.1f} us a row, "
                f"vectors {memory[-1]:6.0f} MiB",
                flush=True,
            )
    flat = max(ingest) / min(ingest)
    slope = np.polyfit(np.log(sizes[1:]), np.log(one[1:]), 1)[0] if len(sizes) > 2 else np.nan
    print(f"  one query grows as rows^{slope:.2f}; ingestion per row varies {flat:.2f} x  bar 1.2")
    if most >= 1_000_000:
        plot(sizes, one, many, memory, dimension)


def plot(
    sizes: list[int], one: list[float], many: list[float], memory: list[float], dimension: int
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.loglog(sizes, [1e3 * t for t in one], "o-", label="one query")
    left.loglog(sizes, [1e3 * t / 64 for t in many], "s-", label="one of a batch of 64")
    left.set(xlabel="rows", ylabel="milliseconds", title=f"Exact search, {dimension} dimensions")
    left.legend(frameon=False)
    right.loglog(sizes, memory, "o-", color="tab:gray")
    right.set(xlabel="rows", ylabel="MiB", title="Memory of the vectors")
    for axes in (left, right):
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=144)
    print(f"  plotted in {PLOT.relative_to(PLOT.parent.parent.parent)}")
