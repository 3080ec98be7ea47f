"""Which films an encoder learnt from. It knows those better than any new film."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

#: The file that ``cxr train`` writes beside a checkpoint, and the key in it.
FILE, KEY = "training.json", "trained_on"

#: Data set and split, e.g. ``("pneumoniamnist", "train")``.
Split = tuple[str, str]


def as_entries(splits: Iterable[Split]) -> list[dict[str, str]]:
    """Splits as they are kept in the file."""
    return [{"dataset": dataset, "split": split} for dataset, split in sorted(set(splits))]


def seen_in_training(folder: Path) -> frozenset[Split]:
    """The splits that a checkpoint says it learnt from; none where it does not say."""
    try:
        stat = (folder / FILE).stat()
    except OSError:
        return frozenset()
    return _read(folder / FILE, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> frozenset[Split]:
    try:
        entries = json.loads(path.read_text("utf-8")).get(KEY, [])
        return frozenset((str(one["dataset"]), str(one["split"])) for one in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()  # a damaged note is no note
