"""Curation: an operation and its effect on Precision@k, beside an evaluation of the same gallery.

python -m tests.benchmarks.curating --rows 5856 --dimension 512
"""

from __future__ import annotations

import argparse
import tempfile

from store import Correction, effect
from tests.benchmarks.timing import cpu_seconds, filled, heading, line, low_rank, seconds


def run(folder: str, rows: int, dimension: int) -> None:
    """Label films twice, exclude some, and compare what that takes with one evaluation."""
    heading(f"Curation of {rows:,} films of {dimension} dimensions")
    gallery = filled(folder, rows, dimension, 0, low_rank)
    gallery.refresh()
    ids = gallery.ids()
    curation = gallery.curation("bench")
    operations: list[str] = []
    clock = {"wall": seconds, "cpu": cpu_seconds}

    def label(start: int) -> None:
        done = curation.label(ids[start : start + 12], Correction.of(["other"]))
        assert done.operation is not None
        operations.append(done.operation.id)
        gallery.refresh()

    def measure() -> None:
        assert effect(gallery, operations[-1:])

    def leave() -> None:
        done = curation.exclude(ids[100:112])
        assert done.operation is not None
        operations.append(done.operation.id)
        gallery.refresh()

    for name, take in clock.items():
        whole = take(lambda: gallery.evaluate("leave-one-out", split=None, full_ranking=False))
        line(f"evaluation of all films, {name}", whole)
        if name == "wall":
            line("12 labels changed, wall", take(lambda: label(0)), "evaluation", whole)
            line("its effect, all ranked, wall", take(measure), "evaluation", whole)
        line(f"12 labels more, {name}", take(lambda n=name: label(12 + 12 * (n == "cpu"))))
        line(f"their effect, {name}", take(measure), "evaluation", whole)
        if name == "wall":
            line("12 films excluded, wall", take(leave), "evaluation", whole)
            line("their effect, wall", take(measure), "evaluation", whole)


def main() -> None:
    """Run as the module's first lines say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5856)
    parser.add_argument("--dimension", type=int, default=512)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(folder, given.rows, given.dimension)


if __name__ == "__main__":
    main()
