"""What the readers of published data sets share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.csvfile import Sheet, read_sheet
from ingest.dicom_header import parse_age
from ingest.record import Rejection
from ingest.sources.listed import (
    Described,
    FileIndex,
    absent_rows,
    file_source,
    odd_ages,
    unnamed,
)
from ingest.sources.source import Source
from ingest.tree import Tree, shown
from store.errors import BadSource, UsageError


def table(root: str | Path, *names: str, needed: bool = True) -> Path | None:
    """The first of some tables that lies in a folder or one below, packed with gzip or not.

    Raises:
        BadSource: there is none of them, and it is needed.
    """
    place = Path(root).expanduser()
    if not place.is_dir():
        raise BadSource(f"{place} is not a folder; pass the folder of the data set")
    for name in names:
        for pattern in (name, f"{name}.gz", f"*/{name}", f"*/{name}.gz"):
            found = [p for p in sorted(place.glob(pattern)) if p.is_file() and not p.is_symlink()]
            if found:
                return found[0]
    if needed:
        raise BadSource(
            f"{place} holds no {' and no '.join(names)}; pass the data set's folder, with its "
            "tables as they were published"
        )
    return None


def sheet(path: Path, *columns: str) -> Sheet:
    """A table that must have some columns."""
    found = read_sheet(path)
    found.need(columns)
    return found


def age(cell: str) -> tuple[float | None, bool]:
    """Years, and whether there was something that is no age."""
    found = parse_age(cell)
    return found, bool(cell) and found is None


def check_splits(splits: Sequence[str] | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """The splits to read; all when None. UsageError for another."""
    if splits is None:
        return tuple(allowed)
    wrong = [one for one in splits if one not in allowed]
    if wrong or not splits or isinstance(splits, str):
        raise UsageError(f"splits must be some of {', '.join(allowed)}; got {splits!r}")
    return tuple(dict.fromkeys(splits))


class Listing:
    """Rows of a published table on their way to the files that are here.

    Args:
        name: the data set.
        tree: the files.
        table: the table's name, for messages.
        splits: rows of other splits are left out, files too.
    """

    def __init__(self, name: str, tree: Tree, table: str, splits: Sequence[str] | None) -> None:
        self.name, self.tree, self.table, self.splits = name, tree, table, splits
        self.index = FileIndex(tree.files)
        self.described: dict[str, Described | Rejection] = {}
        self.notes: list[str] = []
        self._rows = self._missing = self._odd = 0

    def add(self, cell: str, metadata: dict[str, Any], odd_age: bool = False) -> None:
        """Note what the table says of an image; a second row of the same file is left out."""
        self._rows += 1
        found = self.index.find(cell)
        if found is None:
            self._missing += 1
        elif found not in self.described:
            self._odd += odd_age
            self.described[found] = Described(f"{self.name}/{shown(found)}", metadata)

    def refuse(self, cell: str, reason: str, detail: str) -> None:
        """Note why an image is refused."""
        self._rows += 1
        found = self.index.find(cell)
        if found is not None:
            place = shown(f"{self.tree.root}/{found}")
            self.described.setdefault(found, Rejection(place, reason, detail))

    def source(self, **options: Any) -> Source:
        """The source, once all rows are added."""
        if self.splits is not None:
            kept = {
                path: one
                for path, one in self.described.items()
                if isinstance(one, Rejection) or one.metadata.get("split") in self.splits
            }
            left_out = self.described.keys() - kept.keys()
            self.tree.files = [path for path in self.tree.files if path not in left_out]
            self.described = kept
        notes = [
            *self.notes,
            *absent_rows(self._missing, self._rows, self.table),
            *odd_ages(self._odd),
        ]

        def describe(relative: str) -> Described | Rejection:
            return self.described.get(relative) or unnamed(self.tree, relative, self.table)

        return file_source(
            self.name, self.tree, describe, notes=notes, prefix=f"{self.name}/", **options
        )
