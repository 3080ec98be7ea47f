"""Where images come from: one module and one function per kind of source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.sources.source import Source, SourceUnavailable
from store.errors import UsageError

__all__ = ["SOURCES", "Source", "SourceUnavailable", "open_source"]

Splits = Sequence[str] | None
Root = str | Path | None


def _medmnist(rest: str, splits: Splits, size: int, root: Root, download: bool) -> Source:
    from ingest.sources.medmnist import records

    if not rest:
        raise UsageError(
            "source 'medmnist' needs a data set: medmnist:NAME, e.g. medmnist:pneumoniamnist"
        )
    return records(rest, splits, size, root, download)


def _synthetic(rest: str, splits: Splits, size: int, root: Root, download: bool) -> Source:
    from ingest.sources.synthetic import records

    if rest:
        raise UsageError(f"source 'synthetic' takes no name, got {rest!r}; write: synthetic")
    if size != 28:
        raise UsageError(f"the synthetic cohort is 28 x 28 only, got size {size}; leave size out")
    return records(splits)


#: Kind of source (what stands before the colon) to the function that opens it.
SOURCES: dict[str, Callable[[str, Splits, int, Root, bool], Source]] = {
    "medmnist": _medmnist,
    "synthetic": _synthetic,
}


def open_source(
    spec: str,
    *,
    splits: Sequence[str] | None = None,
    size: int = 28,
    root: str | Path | None = None,
    download: bool = True,
) -> Source:
    """Open a source by its name.

    Args:
        spec: ``medmnist:NAME`` for any 2-D MedMNIST set, or ``synthetic``.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        size: side of the images in pixels, where the source offers several.
        root: folder that holds the data set; the source's own places when ``None``.
        download: whether a missing data set may be fetched.

    Raises:
        UsageError: an unknown source, data set, split or size.
        SourceUnavailable: the data set is not here and could not be fetched.
        BadSource: the data set's file is not what it should be.
    """
    kind, _, rest = spec.partition(":")
    if kind not in SOURCES:
        raise UsageError(
            f"unknown source {spec!r}; expected one of: medmnist:NAME "
            "(e.g. medmnist:pneumoniamnist), synthetic"
        )
    return SOURCES[kind](rest, splits, size, root, download)
