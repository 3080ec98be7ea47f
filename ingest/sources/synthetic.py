"""Source of the bundled cohort: images that show nobody, for machines without data.

``synthetic-cohort.npz`` has MedMNIST's layout. Its images are samples of one Gaussian per label in
the space of that label's principal components, fitted to the training split of PneumoniaMNIST
(MedMNIST v2, Yang et al. 2023, from Kermany et al. 2018, CC BY 4.0), by
``tools/make_synthetic_cohort.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest.sources.source import Source, check_splits
from store import UsageError

DATASET = "synthetic-cohort"
LABELS = ("normal", "pneumonia")
#: To be shown on stderr, in every figure, in the report and on every dashboard page.
SYNTHETIC_NOTICE = (
    "SYNTHETIC DATA: these images are random samples of a statistical model, not films of "
    "patients; scores on them show that the software runs and say nothing about medicine."
)
CREDIT = (
    "Derived from PneumoniaMNIST (MedMNIST v2, Yang et al. 2023, doi 10.1038/s41597-022-01721-8; "
    "Kermany et al. 2018), CC BY 4.0."
)

#: Images per split and label (normal, pneumonia): the shares of PneumoniaMNIST.
COUNTS = {"train": (93, 267), "val": (21, 59), "test": (60, 100)}


def path() -> Path:
    """The path of the bundled file."""
    return Path(__file__).with_name(f"{DATASET}.npz")


def records(splits: Sequence[str] | None = None, size: int = 28) -> Source:
    """The cohort as a source, with ids such as ``synthetic-cohort/test/17``.

    Args:
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        size: side of the images in pixels; there is only 28.
    """
    if size != 28:
        raise UsageError(f"the synthetic cohort is 28 x 28 only, got size {size}; leave size out")
    from ingest.sources.published.npz import NpzFile  # not for those who only want the names

    wanted = check_splits(splits)
    file = NpzFile(path(), DATASET, LABELS, "install the package again")
    return Source(DATASET, file.count(wanted), file.read(wanted), SYNTHETIC_NOTICE)
