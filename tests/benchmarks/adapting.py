"""Adapted galleries: ``python -m tests.benchmarks.adapting``.

First a gallery mapped by an adapted encoder, against its films encoded with the bundled encoder, in
one run, interleaved in parts. Then the learning of a map on many vectors: seconds, seconds of the
processor, and the most memory that the process has held.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from ingest.adaptation.candidates import CANDIDATES
from ingest.adaptation.choice import choose, judge_by_split
from ingest.adaptation.films import Films
from ingest.encoders import load_encoder
from ingest.encoders.adapted.vector_map import Branch, Layer, VectorMap
from store import EncoderStamp, Gallery, Row
from tests.benchmarks.encoding import films
from tests.benchmarks.timing import heading

_BATCH = 10_000


def mapping(folder: Path, count: int) -> None:
    """Seconds of encoding so many films, and of mapping their gallery."""
    heading(f"{count:,} films: mapped, against encoded with the bundled encoder")
    encoder = load_encoder()
    arrays, files = films(1000, 28)
    encoder.encode_images(arrays)  # loads the model
    gallery = Gallery.create(folder / "gallery", encoder.stamp)
    encoding = 0.0
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        images = [arrays[i % 1000] for i in range(size)]
        begin = time.perf_counter()
        vectors = encoder.encode_images(images)
        encoding += time.perf_counter() - begin
        gallery.upsert(
            [
                Row(
                    id=f"films/{start + i:07d}",
                    sha256=(start + i).to_bytes(32, "big"),
                    embedding=vectors[i],
                    labels=("normal",),
                    split="train",
                    dataset="films",
                    width=28,
                    height=28,
                    thumbnail=files[i % 1000],
                    batch="first",
                    pixel_reader=1,
                )
                for i in range(size)
            ]
        )
    random = np.random.default_rng(0)
    layer = Layer(
        random.normal(size=(256, encoder.dimension)).astype(np.float32), np.zeros(256, np.float32)
    )
    begin = time.perf_counter()
    gallery.mapped_copy(
        folder / "mapped", EncoderStamp("mapped", "ab" * 32, 256), VectorMap((Branch((layer,)),))
    )
    mapped = time.perf_counter() - begin
    print(
        f"  encoded {encoding:.1f} s, mapped {mapped:.2f} s: {encoding / mapped:.0f} times as fast"
    )


def learning(count: int, dimension: int) -> None:
    """Seconds and memory of choosing, learning and judging a map."""
    heading(f"A map learnt on {count:,} x {dimension} vectors of 14 findings")
    random = np.random.default_rng(0)
    weights = np.geomspace(1, 0.1, 64, dtype=np.float32)[:, None]
    basis = random.standard_normal((64, dimension), dtype=np.float32) * weights
    effects = 0.5 * random.standard_normal((14, 64), dtype=np.float32)
    has = random.random((count, 14)) < np.geomspace(0.3, 0.01, 14)
    vectors = np.empty((count, dimension), np.float32)
    for start in range(0, count, _BATCH):
        part = has[start : start + _BATCH].astype(np.float32)
        inner = random.standard_normal((len(part), 64), dtype=np.float32) + part @ effects
        rows = inner @ basis
        rows += 0.05 * random.standard_normal(rows.shape, dtype=np.float32)
        vectors[start : start + _BATCH] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    everybody = Films(
        [f"{i:07d}" for i in range(count)],
        vectors,
        [tuple(f"finding {j}" for j in np.flatnonzero(row)) for row in has],
        [f"patient {i // 3} of benchmark" for i in range(count)],
    )
    cut = count * 9 // 10
    learn, judge = everybody.part(np.arange(cut)), everybody.part(np.arange(cut, count))
    begin, busy = time.perf_counter(), time.process_time()
    chosen = choose(learn, 0, tuple(CANDIDATES))
    verdict = judge_by_split(chosen, learn, judge)
    took, worked = time.perf_counter() - begin, time.process_time() - busy
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"  {took:.0f} s, {worked:.0f} s of the processor, {held:.2f} GB at most")
    before, after = verdict.precision.before, verdict.precision.after
    print(f"  {chosen.name}: P@10 {before:.3f} to {after:.3f} over {verdict.queries:,} films")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--only", choices=["mapping", "learning"])
    given = parser.parse_args()
    if given.only != "mapping":
        learning(given.rows, given.dimension)
    if given.only != "learning":
        with tempfile.TemporaryDirectory() as folder:
            mapping(Path(folder), given.rows)


if __name__ == "__main__":
    main()
