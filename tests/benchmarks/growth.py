"""Growth from 10k to 1M rows as encoders give: search, ingestion, memory, and the README's plot."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery
from store.mirror import disk_cache
from store.search import exact
from tests.benchmarks import peers
from tests.benchmarks.keeping import in_child
from tests.benchmarks.searching import asked_often
from tests.benchmarks.timing import (
    filled,
    heading,
    in_turns,
    judge,
    low_rank,
    memory_mib,
    rows_of,
    seconds,
)

PLOT = Path(__file__).parent.parent.parent / "docs" / "images" / "scaling.png"
_BATCH, _BATCHES = 1000, 8
_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def run(folder: str, most: int, dimension: int = 128) -> None:
    """Grow one gallery, which is left in the folder, and measure at every size."""
    heading(f"Growth to {most:,} rows of {dimension} dimensions")
    disk_cache.WORTH_SAVING = 1 << 60
    sizes = [size for size in _SIZES if size <= most]
    found: list[dict[str, Any]] = []
    before = 0
    for size in sizes:
        gallery = filled(folder, size - _BATCH * _BATCHES, dimension, before, low_rank)
        took = []
        for number in range(_BATCHES):  # the last rows up to this size
            prefix = f"grown/{size}/{number}/"
            rows = rows_of(_BATCH, dimension, 10**7 + size + number, prefix, low_rank)
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


def grown(folder: str) -> dict[str, Any]:
    """In a process of its own: seconds of one query and of 64, peers' too, and MiB it takes."""
    import faiss

    disk_cache.WORTH_SAVING = 1 << 60
    faiss.IndexFlatIP(2)
    gallery = Gallery.open(folder)
    before = memory_mib()
    gallery.refresh()
    now = asked_often(gallery)
    taken = memory_mib() - before
    queries = low_rank(64, 1, gallery.stamp.dimension)
    asked: dict[str, peers.Search] = {
        "ours": lambda some: exact.nearest(now, some, peers.K),
        "numpy": peers.numpy_matmul(now.vectors),
        "FAISS as shipped": peers.faiss_flat(now.vectors),
    }
    try:
        asked["usearch"] = peers.usearch_exact(now.vectors)
    except ImportError:
        print("  usearch is not installed: make peers")
    one = in_turns({name: partial(peer, queries[:1]) for name, peer in asked.items()}, 5, run=5)
    many = in_turns({name: partial(peer, queries) for name, peer in asked.items()}, 3)
    return {
        "one": one["ours"],
        "many": many["ours"],
        "memory": taken,
        "one of": one,
        "many of": many,
    }


def plot(found: list[dict[str, Any]], dimension: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [one["rows"] for one in found]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axes, kind, queries, title in (
        (left, "one of", 1, "One query"),
        (middle, "many of", 64, "Each of 64 queries at once"),
    ):
        for number, name in enumerate(found[0][kind]):
            times = [1e3 * one[kind][name] / queries for one in found]
            style = {"marker": "o", "lw": 2.5} if name == "ours" else {"marker": ".", "lw": 1}
            axes.loglog(sizes, times, color=f"C{number}", label=name, **style)
        axes.set(xlabel="rows", ylabel="milliseconds", title=f"{title}, {dimension} dimensions")
        axes.legend(frameon=False)
    right.loglog(sizes, [one["memory"] for one in found], "o-", color="C2", label="whole gallery")
    bare = [4 * dimension * size / 2**20 for size in sizes]
    right.loglog(sizes, bare, "--", color="0.5", label="its vectors alone")
    right.set(xlabel="rows", ylabel="MiB", title="Memory")
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=144)
    print(f"  plotted in {PLOT.relative_to(PLOT.parent.parent.parent)}")
