"""What the readers of published data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ingest.images.decode import decode
from ingest.images.dicom import read
from ingest.images.dicom.body_parts import Choice
from ingest.images.dicom.file import is_dicom
from ingest.images.file_tree import Tree, shown
from ingest.metadata import parse_age
from ingest.record import Pixels, Rejection
from ingest.sources.file_listing import (
    Described,
    absent_rows,
    contested,
    file_source,
    odd_ages,
    several,
    source_of,
    unnamed,
)
from ingest.sources.source import Source
from ingest.sources.tables.csv_file import Sheet, read_sheet
from ingest.sources.tables.matching import FileIndex, Matching
from store import BadSource, UsageError

#: How many folders above the one that is pointed at are looked through for a table.
_UP = 6


def table(
    root: str | Path, *names: str, needed: bool = True, columns: Sequence[str] = ()
) -> Path | None:
    """The first of some tables that belongs to a folder, packed with gzip or not.

    It is looked for in the folder, in those right below, and then in the folders above, the nearest
    first. A table above must have the published columns: many data sets have a ``train.csv``.

    Args:
        root: the folder.
        names: of the tables, as patterns; with the publisher's folder where it has one of its own.
        needed: whether its absence is an error.
        columns: headings that make it that table.

    Raises:
        BadSource: there is none of them, and it is needed.
    """
    place = Path(root).expanduser()
    if not place.is_dir():
        raise BadSource(f"{place} is not a folder; pass the folder of the data set")
    for pattern, name in ((p, name) for name in names for p in ("{}", "{}.gz", "*/{}", "*/{}.gz")):
        found = _tables(place, pattern.format(name))
        if found:
            return found[0]
    for above in place.resolve().parents[:_UP]:
        if above in (Path(above.anchor), Path.home()):
            break
        for pattern in (p for name in names for p in (name, f"{name}.gz")):
            for path in _tables(above, pattern):
                if set(columns) <= set(_headings(path)):
                    return path
    if needed:
        raise BadSource(
            f"{place} holds no {' and no '.join(names)}, and no folder above it does; pass the "
            "data set's folder, with its tables as they were published"
        )
    return None


def _tables(place: Path, pattern: str) -> list[Path]:
    try:
        return [p for p in sorted(place.glob(pattern)) if p.is_file() and not p.is_symlink()]
    except OSError:  # a folder above that this user may not list
        return []


def _headings(path: Path) -> tuple[str, ...]:
    if path.suffix == ".txt":
        return ()
    try:
        return read_sheet(path).headings
    except BadSource:
        return ()


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


def read_film(data: bytes, name: str, body_part: Choice = "chest") -> tuple[Pixels, Any]:
    """Pixels of a DICOM film with what its header tells, or of the same film as PNG or JPEG."""
    if is_dicom(data):
        return read.read(data, name, body_part)
    return decode(data, name), {}


class Listing:
    """Rows of a published table on their way to the files that are here.

    Args:
        name: the data set.
        tree: the files.
        tables: the tables, the one that names the films first.
        splits: rows of other splits are left out, files too.
        layout: whether a folder's name is one of the publisher's.
    """

    def __init__(
        self,
        name: str,
        tree: Tree,
        tables: Sequence[Path],
        splits: Sequence[str] | None,
        layout: Callable[[str], bool] | None = None,
    ) -> None:
        self.name, self.tree, self.splits = name, tree, splits
        self.table = ", ".join(dict.fromkeys(path.name for path in tables)) or "the tables"
        self.index = FileIndex(tree.files, tree.root, layout)
        self.described: dict[str, Described | Rejection] = {}
        self.notes: list[str] = _far(tree.root, tables)
        self._below = _below(tree.root, tables)
        self._matching = Matching()
        self._places: dict[str, str] = {}
        self._extra: list[Rejection] = []
        self._rows = self._missing = self._odd = 0

    def expect(self, cells: Iterable[str]) -> None:
        """Decide which films the cells mean, once, before any of them is added."""
        self._matching = self.index.match(cells)
        for film, both in self._matching.contested.items():
            self.described[film] = contested(self.tree, film, both, self.table)

    def here(self, cell: str, place: str = "") -> bool:
        """Count a row; whether its image is here, so that the rest of it need be read.

        Args:
            cell: the image, as it was expected.
            place: table and line, for messages.
        """
        self._rows += 1
        if not cell:
            self._missing += 1
            return False
        if self._matching.film(cell) is not None:
            return True
        path = self._matching.path(cell)
        films = self._matching.several.get(path)
        if films is not None:
            self._extra.append(several(self.tree, place or self.table, cell, films))
        elif path not in self._matching.claimed:
            self._missing += 1
        return False

    def add(
        self, cell: str, metadata: dict[str, Any], odd_age: bool = False, place: str = ""
    ) -> None:
        """Note what the table says of an image that is here.

        Args:
            cell: the image, as it was expected.
            metadata: what is said of it; a second row that says something else is a contradiction.
            odd_age: whether there was an age that nobody has.
            place: table and line, for messages.
        """
        found = self._matching.films[self._matching.path(cell)]
        there = self.described.get(found)
        if there is None:
            self._odd += odd_age
            self._places[found] = place
            self.put(found, metadata)
        elif isinstance(there, Described) and dict(there.metadata) != metadata:
            self.described[found] = Rejection(
                source_of(self.tree, found),
                "contradictory_rows",
                f"{self._places.get(found, self.table)} and {place or self.table} say different "
                "things of this file; correct one of them",
            )

    def put(self, film: str, metadata: dict[str, Any]) -> None:
        """Note what is known of a film by its place below the source."""
        self.described[film] = Described(f"{self.name}/{shown(self._below + film)}", metadata)

    def refuse(self, cell: str, reason: str, detail: str) -> None:
        """Note why an image that is here is refused."""
        found = self._matching.films[self._matching.path(cell)]
        self.described[found] = Rejection(source_of(self.tree, found), reason, detail)

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
            *self._matching.notes(self.table),
            *absent_rows(self._missing, self._rows, self.table),
            *odd_ages(self._odd),
        ]

        def describe(relative: str) -> Described | Rejection:
            return self.described.get(relative) or unnamed(
                self.tree, relative, self.table, self._matching
            )

        return file_source(
            self.name,
            self.tree,
            describe,
            extra=self._extra,
            notes=notes,
            prefix=f"{self.name}/{shown(self._below)}",
            **options,
        )


def _below(root: Path, tables: Sequence[Path]) -> str:
    """What ids begin with where a part of a data set is pointed at: its place in the whole.

    So a film has the same id whichever folder it is reached through.
    """
    for path in tables:
        for above in path.resolve().parents[:2]:
            if root.is_relative_to(above) and root != above:
                return f"{root.relative_to(above).as_posix()}/"
            if root == above:
                break
    return ""


def _far(root: Path, tables: Sequence[Path]) -> list[str]:
    """A note about tables that are not in the folder that was pointed at."""
    far = [shown(str(path)) for path in tables if not path.resolve().is_relative_to(root)]
    return [f"read with the tables above the folder: {', '.join(far)}"] if far else []
