"""Reports as queries, made by the caption grammar: ``python -m tests.benchmarks.report_queries``.

Films of one split of PneumoniaMNIST (where ``MEDMNIST_ROOT`` has it) and of the bundled synthetic
cohort get three sentences each, drawn from what the grammar says of reports of their label. Printed
is what ``cxr evaluate --queries reports`` prints: search by words, by vectors, and by both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from ingest import ingest, open_source
from ingest.encoders import Encoder, load_encoder
from ingest.training.captions import caption
from store import Gallery
from tests.benchmarks.timing import heading
from ui.commands.evaluation.reports import measure_reports, print_reports

#: Sentences of a report, and what the grammar calls sentences of reports of each label.
SENTENCES = 3
_KINDS = {"normal": "n_report", "pneumonia": "p_report"}


def report_of(label: str, random: Random) -> str:
    """A report of a film by its label, of sentences of the caption grammar."""
    drawn = (caption(_KINDS[label], random) for _ in range(SENTENCES))
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in drawn)


def filled(
    place: Path, encoder: Encoder, source: str, split: str, root: Path | None = None
) -> Gallery:
    """A gallery of one split of a source of normal films and pneumonias, with reports."""
    gallery = Gallery.create(place, encoder.stamp)
    ingest(open_source(source, splits=[split], root=root), gallery, encoder)
    gallery.refresh()
    random = Random(0)
    rows: Sequence = [row for _, row in sorted(gallery.rows(gallery.ids()).items())]
    told = frozenset({"report"})
    gallery.update_metadata(
        [replace(row, report=report_of(row.labels[0], random), told=told) for row in rows]
    )
    gallery.refresh()
    return gallery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--medmnist", type=Path, default=os.environ.get("MEDMNIST_ROOT") or None)
    parser.add_argument("--fusion", default="rrf")
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    encoder = load_encoder()
    sources = {"synthetic": None}
    if given.medmnist:
        sources["medmnist:pneumoniamnist"] = given.medmnist
    with tempfile.TemporaryDirectory() as folder:
        for number, (source, root) in enumerate(sources.items()):
            heading(source)
            gallery = filled(Path(folder) / str(number), encoder, source, given.split, root)
            print_reports(measure_reports(gallery, encoder, "all", fusion=given.fusion))


if __name__ == "__main__":
    main()
