"""Adapted galleries: ``python -m tests.benchmarks.adapting``.

First the learning of a map on a stored gallery of many vectors: seconds, seconds of the
processor, and the most memory of a process that does nothing else. Then a gallery mapped by an
adapted encoder, against its films encoded with the bundled encoder, in one run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ingest import adapt
from ingest.encoders import load_encoder
from ingest.encoders.adapted.vector_map import Branch, Layer, VectorMap
from store import EncoderStamp, Gallery, Row
from tests.benchmarks.encoding import films
from tests.benchmarks.timing import heading

_BATCH = 10_000


def in_a_process(work: Callable[..., None], *given: object) -> None:
    """Do something in a process of its own, so that memory and threads are that work's alone."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=given)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def mapping(folder: Path, count: int, encoded: int) -> None:
    """Seconds a film of encoding films, and of mapping their gallery.

    Args:
        folder: for the galleries.
        count: films of the gallery.
        encoded: how many of them are encoded; the others have the same vectors in turn.
    """
    encoded = min(encoded, count)
    heading(f"{count:,} films mapped, against {encoded:,} encoded with the bundled encoder")
    encoder = load_encoder()
    arrays, files = films(1000, 28)
    encoder.encode_images(arrays)  # loads the model
    begin = time.perf_counter()
    known = encoder.encode_images([arrays[i % 1000] for i in range(encoded)])
    encoding = (time.perf_counter() - begin) / encoded
    gallery = Gallery.create(folder / "gallery", encoder.stamp)
    for start in range(0, count, _BATCH):
        gallery.upsert(
            [
                Row(
                    id=f"films/{i:07d}",
                    sha256=i.to_bytes(32, "big"),
                    embedding=known[i % encoded],
                    labels=("normal",),
                    split="train",
                    dataset="films",
                    width=28,
                    height=28,
                    thumbnail=files[i % 1000],
                    batch="first",
                    pixel_reader=1,
                )
                for i in range(start, min(start + _BATCH, count))
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
    mapped = (time.perf_counter() - begin) / count
    print(
        f"  a film encoded {1e3 * encoding:.2f} ms, mapped {1e3 * mapped:.3f} ms: "
        f"{encoding / mapped:.0f} times as fast"
    )


def stored_films(place: Path, count: int, dimension: int) -> None:
    """Make a gallery of vectors in which 14 findings show, three films of a patient."""
    random = np.random.default_rng(0)
    weights = np.geomspace(1, 0.1, 64, dtype=np.float32)[:, None]
    basis = random.standard_normal((64, dimension), dtype=np.float32) * weights
    effects = 0.5 * random.standard_normal((14, 64), dtype=np.float32)
    chances = np.geomspace(0.3, 0.01, 14)
    gallery = Gallery.create(place, EncoderStamp("benchmark", "ab" * 32, dimension))
    for start in range(0, count, _BATCH):
        has = random.random((min(_BATCH, count - start), 14)) < chances
        inner = random.standard_normal((len(has), 64), dtype=np.float32)
        vectors = (inner + has.astype(np.float32) @ effects) @ basis
        vectors += 0.05 * random.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        gallery.upsert(
            [
                Row(
                    id=f"films/{i:07d}",
                    sha256=i.to_bytes(32, "big"),
                    embedding=vectors[i - start],
                    labels=tuple(f"finding {j}" for j in np.flatnonzero(has[i - start])),
                    labelled=True,
                    split="train" if i < count * 9 // 10 else "val",
                    patient=f"{i // 3}",
                    dataset="films",
                )
                for i in range(start, start + len(has))
            ]
        )


def learning(place: Path) -> None:
    """Seconds and memory of adapting to a stored gallery, from its opening to the folder."""
    begin, busy = time.perf_counter(), time.process_time()
    report = adapt(Gallery.open(place), place.with_name("adapted"), split="train", val="val")
    took, worked = time.perf_counter() - begin, time.process_time() - busy
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"  {took:.0f} s, {worked:.0f} s of the processor, {held:.2f} GB at most")
    print(f"  {report.verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--encoded", type=int, default=100_000)
    parser.add_argument("--only", choices=["mapping", "learning"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if given.only != "mapping":
            heading(f"A map learnt on {given.rows:,} x {given.dimension} vectors of 14 findings")
            in_a_process(stored_films, place / "vectors", given.rows, given.dimension)
            in_a_process(learning, place / "vectors")
        if given.only != "learning":
            in_a_process(mapping, place, given.rows, given.encoded)


if __name__ == "__main__":
    main()
