"""What a second worker and a second shard bring: ``python -m tests.benchmarks.ray_scaling``.

One machine, one worker and two take turns over the same images; a worker's start is left out, for
it is paid once. Then 100,000 vectors in this process, in one shard and in two, with the proof that
answers are equal and what a lost shard costs. Ratios, for clocks differ.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ingest import Source, ingest, open_source
from ingest.distributed.stage import Pool, on_ray
from ingest.distributed.workers import EncoderCall
from ingest.encoders import load_encoder
from store import Gallery
from store.cluster import connection
from store.cluster.sharded import ShardedBackend
from store.search.base import Sharding
from store.table.lance import open_version
from tests.benchmarks.timing import filled, heading, in_turns, line
from tests.clusters import kill
from tests.store.rows import random_vectors


def ingestion(folder: Path, npz_folder: Path | None) -> None:
    """Images per second between the first and the last commit."""
    encoder = load_encoder()
    found: dict[str, Any] = {}
    for name, workers in (("one machine", 0), ("1 worker", 1), ("2 workers", 2)):
        marks: list[tuple[float, int]] = []
        stage = (
            on_ray(EncoderCall.of(encoder), Pool(workers=(workers, workers))) if workers else None
        )
        gallery = Gallery.create(folder / name, encoder.stamp)
        report = ingest(
            films(npz_folder),
            gallery,
            encoder,
            stage=stage,
            progress=lambda now, marks=marks: marks.append((time.perf_counter(), now.encoded)),
        )
        first = next(mark for mark in marks if mark[1])
        seconds, images = marks[-1][0] - first[0], marks[-1][1] - first[1]
        ids = gallery.ids()
        rows = gallery.rows(ids)
        found[name] = (seconds / images, ids, gallery.vectors(ids), [rows[i].sha256 for i in ids])
        print(f"  {name}: {report.encoded:,} images, {1e3 * seconds / images:.2f} ms each")
    one = found["one machine"]
    for name in ("1 worker", "2 workers"):
        other = found[name]
        furthest = float(np.abs(one[2] - other[2]).max())
        same = one[1] == other[1] and one[3] == other[3]
        print(f"  {name}: ids and digests equal: {same}; vectors differ by at most {furthest:.1e}")
        assert same and furthest <= 1e-5
    speed = found["1 worker"][0] / found["2 workers"][0]
    alone = one[0] / found["1 worker"][0]
    print(
        f"  one worker does {alone:.2f} x the work of one machine, two do {speed:.2f} x that of one"
    )


def films(npz_folder: Path | None) -> Source:
    if npz_folder is not None:
        return open_source("medmnist:pneumoniamnist", root=npz_folder)
    return open_source("synthetic")


def search(folder: Path, rows: int, dimension: int) -> None:
    """The same vectors in this process and in shards."""
    one = filled(folder / "vectors", rows, dimension)
    one.refresh()
    queries = random_vectors(64, 1, dimension)
    galleries = {"this process": one}
    for shards in (1, 2):
        begin = time.perf_counter()
        manner = ShardedBackend(one.uri, dimension, Sharding(shards))
        live = open_version(one.uri)
        galleries[f"{shards} shards"] = Gallery(one.uri, live, one.stamp, manner)
        galleries[f"{shards} shards"].search(queries[:1], 10)
        line(f"{shards} shards started and loaded", time.perf_counter() - begin)
    for count in (1, 64):
        asked = queries[:count]
        took = in_turns(
            {name: lambda g=gallery: g.search(asked, 10) for name, gallery in galleries.items()},  # type: ignore[misc]  # noqa: B023
            12 if count == 1 else 4,
        )
        for name, seconds in took.items():
            line(f"{count} queries, {name}", seconds, "this process", took["this process"])
    for k in (10, 300):
        truth = told(one, queries, k)
        equal = all(told(gallery, queries, k) == truth for gallery in galleries.values())
        print(f"  top {k} of 64 queries, ids and scores equal to the bit: {equal}")
        assert equal
    two = galleries["2 shards"]
    kill(manner.shards.pids()[0])
    begin = time.perf_counter()
    assert told(two, queries, 10) == told(one, queries, 10)
    line("a search that waits for a killed shard to be rebuilt", time.perf_counter() - begin)
    for gallery in galleries.values():
        gallery.close()


def told(gallery: Gallery, queries: Any, k: int) -> list[list[tuple[str, float]]]:
    return [[(hit.row.id, hit.score) for hit in row] for row in gallery.search(queries, k)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--medmnist", type=Path, default=None, help="folder of the npz")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    chosen = parser.parse_args()
    connection.connect()
    with tempfile.TemporaryDirectory() as folder:
        heading("Ingestion on Ray")
        ingestion(Path(folder), chosen.medmnist)
        heading(f"Search over shards, {chosen.rows:,} x {chosen.dimension}")
        search(Path(folder), chosen.rows, chosen.dimension)


if __name__ == "__main__":
    main()
