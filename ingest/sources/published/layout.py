"""Reader of published data sets: tables found, rows matched with films, films described.

A new set is a module that says which table names the films, and what a row of it says of its film:
see ``nih.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ingest.images.file_tree import Tree, shown
from ingest.metadata import parse_age
from ingest.record import Rejection
from ingest.sources.file_listing import (
    Described,
    absent_rows,
    contested,
    file_source,
    odd_ages,
    read_image_file,
    several,
    source_of,
    unnamed,
)
from ingest.sources.source import Source
from ingest.sources.tables.csv_file import Sheet, read_sheet
from ingest.sources.tables.matching import FileIndex, Matching
from store import BadSource, expanded

#: A row of a table: heading to cell.
Row = Mapping[str, str]
#: Metadata of a film by column names, or the reason and the detail of its refusal.
Description = dict[str, Any] | tuple[str, str]

#: How many folders above the one that is pointed at are looked through for a table.
_UP = 6


def table(root: str | Path, *names: str, columns: Sequence[str] = ()) -> Sheet:
    """The table that find_table finds.

    Raises:
        BadSource: there is none, or it cannot be read or lacks a column.
    """
    found = find_table(root, *names, columns=columns)
    if found is None:
        raise BadSource(
            f"{expanded(root)} holds no {' and no '.join(names)}, and no folder above it "
            "does; pass the data set's folder, with its tables as they were published"
        )
    return found


def find_table(root: str | Path, *names: str, columns: Sequence[str] = ()) -> Sheet | None:
    """The first of some tables that belongs to a folder, packed with gzip or not; None without.

    It is looked for in the folder, in those right below, and then in the folders above, the nearest
    first. A table above that lacks the columns is another one: many data sets have a ``train.csv``.

    Args:
        root: the folder.
        names: of the tables, as patterns; with the publisher's folder where it has one of its own.
        columns: headings that it must have.

    Raises:
        BadSource: the one in the folder cannot be read or lacks a column.
    """
    for path, above in _candidates(root, names):
        try:
            found = read_sheet(path)
            found.need(columns)
        except BadSource:
            if not above:
                raise
        else:
            return found
    return None


def find_file(root: str | Path, name: str) -> Path | None:
    """A file of a data set that is no table, looked for where find_table looks."""
    return next((path for path, _ in _candidates(root, [name])), None)


def _candidates(root: str | Path, names: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Files of these names that may belong to a folder, and whether each lies above it."""
    place = expanded(root)
    if not place.is_dir():
        raise BadSource(f"{place} is not a folder; pass the folder of the data set")
    for pattern in (p.format(n) for n in names for p in ("{}", "{}.gz", "*/{}", "*/{}.gz")):
        yield from ((path, False) for path in _plain_files(place, pattern)[:1])
    for above in place.resolve().parents[:_UP]:
        if above in (Path(above.anchor), Path.home()):
            break
        for pattern in (p.format(n) for n in names for p in ("{}", "{}.gz")):
            yield from ((path, True) for path in _plain_files(above, pattern))


def _plain_files(place: Path, pattern: str) -> list[Path]:
    try:
        return [p for p in sorted(place.glob(pattern)) if p.is_file() and not p.is_symlink()]
    except OSError:  # a folder above that this user may not list
        return []


#: Reader of films that keeps what a DICOM header tells.
read_film = partial(read_image_file, header=True)


class Listing:
    """The films of a published set that are here, by the rows of its tables.

    Args:
        name: the data set.
        tree: the files.
        tables: the tables, the one that names the films first.
        splits: rows of other splits are left out, films too; all are taken when ``None``.
        layout: whether a folder's name is one of the publisher's.
        folders: folder of films to the split that it holds, where it holds one.
    """

    def __init__(
        self,
        name: str,
        tree: Tree,
        tables: Sequence[Sheet],
        splits: Sequence[str] | None,
        layout: Callable[[str], bool] | None = None,
        folders: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.tree, self.splits = name, tree, splits
        paths = [one.path for one in tables]
        self.table = ", ".join(dict.fromkeys(path.name for path in paths)) or "the tables"
        self.index = FileIndex(tree.files, tree.root, layout)
        self.described: dict[str, Described | Rejection] = {}
        self.notes: list[str] = _far(tree.root, paths)
        self._below = _below(tree.root, paths)
        self._folders = folders or {}
        self._matching = Matching()
        self._places: dict[str, str] = {}
        self._extra: list[Rejection] = []
        self._rows = self._missing = 0
        self._odd: list[str] = []

    def expect(self, cells: Iterable[str]) -> None:
        """Decide which films the cells mean, once, before any of them is added."""
        self._matching = self.index.match(cells)
        for film, both in self._matching.contested.items():
            self.described[film] = contested(self.tree, film, both, self.table)

    def read(
        self, rows: Sheet, image: Callable[[Row], str], describe: Callable[[Row], Description]
    ) -> None:
        """Add the rows of a table whose images are here, a row an image.

        Args:
            rows: the table.
            image: the cell that names a row's image, as it was expected.
            describe: what a row says; ``age`` as the table has it. A ValueError refuses the film as
                ``bad_label``.
        """
        for line, row in rows.rows():
            cell, place = image(row), f"{rows.path.name}:{line}"
            if not self.here(cell, place):
                continue
            try:
                said = describe(row)
            except ValueError as error:
                said = "bad_label", f"{place}: {error}"
            if isinstance(said, tuple):
                self.refuse(cell, *said)
                continue
            odd = ""
            if (age := said.get("age")) is not None:
                said["age"] = parse_age(age)
                odd = age if said["age"] is None else ""
            self.add(cell, said, odd, place)

    def here(self, cell: str, place: str = "") -> bool:
        """Count a row; whether its image is here, so that the rest of the row need be read.

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

    def add(self, cell: str, metadata: dict[str, Any], odd_age: str = "", place: str = "") -> None:
        """Describe an image that is here.

        Args:
            cell: the image, as it was expected.
            metadata: what is said of it; a second row that says something else is a contradiction.
            odd_age: the age as the table has it, where nobody has that.
            place: table and line, for messages.
        """
        found = self._matching.films[self._matching.path(cell)]
        there = self.described.get(found)
        if there is None:
            if odd_age:
                self._odd.append(odd_age)
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
        """Describe a film by its place below the source."""
        self.described[film] = Described(f"{self.name}/{shown(self._below + film)}", metadata)

    def refuse(self, cell: str, reason: str, detail: str) -> None:
        """Refuse an image that is here."""
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
            self.tree.files = [
                path
                for path in self.tree.files
                if path in kept or not (path in left_out or self._in_other_split(path))
            ]
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

    def _in_other_split(self, film: str) -> bool:
        """Whether a film lies in the folder of a split that is not wanted."""
        splits = {self._folders.get(folder) for folder in self.index.folders(film)} - {None}
        return not splits.issubset(self.splits or ())


def _below(root: Path, tables: Sequence[Path]) -> str:
    """The beginning of ids where a part of a data set is pointed at: its place in the whole.

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
