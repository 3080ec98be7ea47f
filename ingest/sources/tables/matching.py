"""Matching of a table's cells with films: paths compared from their ends, folder by folder.

A cell means a film when the longer of the two paths ends in the shorter at a folder boundary; the
film's path goes on above the source, up to the root of the disk. So ``study2/view1.png`` means
every ``.../study2/view1.png`` and nothing else, whatever folder was pointed at. A cell that several
films could mean, and a film that cells with different paths could mean, are left undecided.

Where no film's path agrees to the letter, what tools do to names is allowed for, weakest last:
``WAYS``. A film that a cell names outright is out of reach for those.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.images.file_tree import shown
from ingest.sources.tables.csv_file import tidy
from store import counted

#: How a cell came to mean a film, strongest first: the same path; the same below the folder in
#: which the data set lies; the same but for capitals in the ending; but for the ending, which may
#: be missing; but for leading zeros, which spreadsheets eat.
WAYS = ("path", "layout", "capitals", "ending", "zeros")

_ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".tif", ".tiff", ".bmp", ".webp"),
    *(".gif", ".dcm", ".dicom", ".dic", ".ima", ".pgm", ".npy", ".nii", ".gz", ".mha"),
}
_ODD = re.compile(r"//|(?:^|/)\.{0,2}(?:/|$)|\s/|/\s")
_DRIVE = re.compile(r"[A-Za-z]:/")
# 7.0 is what becomes of 7 in a column of numbers with a blank.
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.0)?")
#: Films that are named in a message about a cell that several could mean.
_NAMED = 2


def path_of(cell: str) -> str:
    """A path as it is compared: ``/`` between folders, composed Unicode, no ``.``, ``..``, spaces.

    What ``..`` at the start leads to is not known, so it is left out, as is the leading ``/``. The
    letter of a drive stays.
    """
    text = tidy(cell).replace("\\", "/")
    if not _ODD.search(text):
        return text
    parts: list[str] = []
    for part in (one.strip() for one in text.split("/")):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def stem_of(name: str) -> str:
    """A name or path without the endings of images, ``film.dcm.png`` is ``film``."""
    while True:
        stem, dot, ending = name.rpartition(".")
        if not stem or stem.endswith("/") or f"{dot}{ending}".casefold() not in _ENDINGS:
            return name
        name = stem


def _small_ending(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    ending = f"{dot}{ending}".casefold()
    return stem + ending if ending in _ENDINGS else path


def _cell_number(path: str) -> str | None:
    """A cell that may have lost zeros: the number that it is, the first digit no zero."""
    found = _NUMBER.fullmatch(path)
    return found[1] if found else None


def _film_number(path: str) -> str | None:
    folder, slash, name = stem_of(path).rpartition("/")
    if not (name.isascii() and name.isdecimal()):
        return None
    return f"{folder}{slash}{name.lstrip('0') or '0'}"


def agree(one: str, other: str) -> bool:
    """Whether the longer of two paths ends in the shorter, at a folder boundary."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    return not short or long == short or long.endswith(f"/{short}")


class _Ends:
    """Index of films by the ends of their paths.

    Args:
        paths: (number, path) of the films.
        above: the folders above all of these paths.
    """

    def __init__(self, paths: Iterable[tuple[int, str]], above: str) -> None:
        self._above = above
        self._by_depth: dict[int, list[tuple[int, str]]] = {}
        for number, path in paths:
            self._by_depth.setdefault(path.count("/") + 1, []).append((number, path))
        self._whole: dict[int, dict[str, int | list[int]]] = {}
        self._tails: dict[int, dict[str, int | list[int]]] = {}

    def meant(self, path: str) -> list[int]:
        """The films that a path could mean."""
        depth = path.count("/") + 1
        found = _all(self._tail(depth).get(path))
        for shallow in self._by_depth:
            if shallow < depth:
                above, *end = path.rsplit("/", shallow)
                same = self._exactly(shallow).get("/".join(end))
                if same is not None and agree(above, self._above):
                    found = [*found, *_all(same)]
        return found

    def _tail(self, depth: int) -> dict[str, int | list[int]]:
        """The ends of this many parts, of paths that are as long or longer."""
        found = self._tails.get(depth)
        if found is None:
            found = self._tails[depth] = {}
            for deep, paths in self._by_depth.items():
                if deep >= depth:
                    for number, path in paths:
                        end = path if deep == depth else "/".join(path.rsplit("/", depth)[1:])
                        _put(found, end, number)
        return found

    def _exactly(self, depth: int) -> dict[str, int | list[int]]:
        found = self._whole.get(depth)
        if found is None:
            found = self._whole[depth] = {}
            for number, path in self._by_depth[depth]:
                _put(found, path, number)
        return found


def _put(where: dict[str, int | list[int]], key: str, number: int) -> None:
    there = where.setdefault(key, number)
    if isinstance(there, list):
        there.append(number)
    elif there != number:
        where[key] = [there, number]


def _all(found: int | list[int] | None) -> list[int]:
    return [] if found is None else [found] if isinstance(found, int) else found


@dataclass(slots=True)
class Matching:
    """Films that the cells of a table mean.

    Attributes:
        films: path of a cell to the one film that it means, which no other path means.
        several: path of a cell to the films that it could mean: the first of them, and how many.
        claimed: all the paths that could mean a film.
        contested: film to two of the paths that could mean it.
        ways: how many films were found in which of ``WAYS``.
        examples: for each way, a cell and its film.
    """

    films: dict[str, str] = field(default_factory=dict)
    several: dict[str, tuple[list[str], int]] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    contested: dict[str, tuple[str, str]] = field(default_factory=dict)
    ways: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)
    _pointed: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] | None = None

    def path(self, cell: str) -> str:
        """The path that a cell is compared as; cells of the same path name the same film."""
        return self._paths[cell]

    def film(self, cell: str) -> str | None:
        """The film that a cell means."""
        return self.films.get(self._paths[cell])

    def notes(self, table: str) -> list[str]:
        """Notes on looser matches, with counts."""
        says = {
            "capitals": "although the capitals of its ending differ",
            "ending": "although its ending differs",
            "zeros": "by its number without leading zeros, as spreadsheets write it",
        }
        return [
            f"{counted(self.ways[way], 'file was', 'files were')} matched with a row of {table} "
            f"{what} "
            f"({self.examples[way][0]!r} there, {shown(self.examples[way][1])!r} here)"
            for way, what in says.items()
            if self.ways[way]
        ]

    def why_unnamed(self, film: str, whole: str, table: str) -> str:
        """The reason why a film has no row, with what was compared.

        Args:
            film: its path below the source.
            whole: the same with the folders above.
            table: its name.
        """
        if film in self._pointed:
            cell = self._pointed[film]
            count = self.several[cell][1]
            return (
                f"{table} has no row for this file alone: {cell!r} could mean {count:,} "
                "files; give paths with more folders"
            )
        if self._names is None:
            self._names = {}
            for cell in self._paths.values():
                self._names.setdefault(stem_of(cell.rpartition("/")[2]), cell)
        near = self._names.get(stem_of(path_of(film).rpartition("/")[2]))
        same = near is not None and agree(stem_of(near), stem_of(path_of(whole)))
        of = "of another file" if same else "in another folder"
        told = f"; nearest is {near!r}, {of}" if near else ""
        return (
            f"{table} has no row for this file: its path {shown(whole)!r} was compared with "
            f"{len(self._paths):,} cells, from the end, folder by folder, with and without "
            f"ending{told}"
        )


class FileIndex:
    """Index of files by path, which finds the films that cells mean; see the module for the rule.

    Args:
        files: paths of the films below the source.
        root: the source's own path; without it, nothing is known of the folders above.
        layout: whether a folder's name is one that the data set's publisher gave. Where whole paths
            disagree, those parts of both alone are compared that stand right before the file's
            name: a copy of the set may lie anywhere, under any name.
        prefix: what cells begin with where they come from another machine; cut off.
    """

    def __init__(
        self,
        files: Sequence[str],
        root: str | Path | None = None,
        layout: Callable[[str], bool] | None = None,
        prefix: str | None = None,
    ) -> None:
        self._files = files
        self._above = path_of(str(root)) if root is not None else ""
        self._layout = layout
        self._prefix = path_of(prefix) if prefix else ""
        self._paths = [path_of(path) for path in files]
        self._alone: dict[str, _Ends] = {}
        self._films: dict[str, str] | None = None

    def find(self, cell: str) -> str | None:
        """The one film that a cell by itself means; None when there is none, or several.

        The cell is only ever compared with the paths that were listed, never opened.
        """
        _, found = self.strength(cell)
        return self._files[found[0]] if len(found) == 1 else None

    def strength(self, cell: str, ways: Sequence[str] = WAYS) -> tuple[str | None, tuple[int, ...]]:
        """The strongest way in which a cell by itself means films, and their numbers."""
        path = self.cut(cell)
        if not path:
            return None, ()
        # Nearly all cells of a table name no film; most are told by the name alone.
        named = stem_of(path.rpartition("/")[2]) in self._named()
        for way in ways:
            asked = self._of_cell(way, path) if named or way == "zeros" else None
            if asked and (found := self._all_ends(way).meant(asked)):
                return way, tuple(found)
        return None, ()

    def cut(self, cell: str) -> str:
        """A cell's path without the folders that it begins with on another machine."""
        path = path_of(cell)
        if self._prefix and path.startswith(f"{self._prefix}/"):
            return path[len(self._prefix) + 1 :]
        return path

    def folders(self, film: str) -> list[str]:
        """The names of the publisher's folders right above a film."""
        return self._published(self._whole(path_of(film))).split("/")[:-1]

    def same_name(self, cell: str) -> str | None:
        """A film with the name of a cell, in whatever folder: for messages only."""
        return self._named().get(stem_of(self.cut(cell).rpartition("/")[2]))

    def could_mean(self, cell: str) -> list[str]:
        """The films that a cell by itself could mean but for its ending, whatever others mean."""
        return [self._files[number] for number in self.strength(cell, ("ending",))[1]]

    def elsewhere(self, cell: str) -> str | None:
        """The folders above a film on another machine, if a cell is its path there."""
        path = self.cut(cell)
        film = self.same_name(cell)
        if film is None or not path.endswith(f"/{path_of(film)}"):
            return None
        return path[: -len(path_of(film)) - 1]

    def match(self, cells: Iterable[str]) -> Matching:
        """Decide for all the cells of a table at once; blank ones mean nothing."""
        found = Matching()
        for cell in cells:
            if cell and cell not in found._paths:
                found._paths[cell] = self.cut(cell)
        still: list[str] = list(dict.fromkeys(found._paths.values()))
        free: Sequence[int] = range(len(self._files))
        eaten = not any(re.match(r"0[0-9]", path) and path.isdecimal() for path in still)
        for way in WAYS:
            if not still or not free or (way == "zeros" and not eaten):
                break
            if way == "layout" and self._layout is None:
                continue
            still, free = self._decide(found, way, still, free)
        return found

    def _decide(
        self, found: Matching, way: str, paths: list[str], free: Sequence[int]
    ) -> tuple[list[str], Sequence[int]]:
        """Match paths in one way; the paths and the films that are left."""
        whole = len(free) == len(self._files)
        ends = self._all_ends(way) if whole else self._ends(way, free)
        left: list[str] = []
        claims: dict[int, str] = {}
        sure: list[tuple[str, int]] = []
        for path in paths:
            asked = self._of_cell(way, path)
            films = ends.meant(asked) if asked else []
            if not films:
                left.append(path)
                continue
            found.claimed.add(path)
            if len(films) > 1:
                found.several[path] = [self._files[i] for i in films[:_NAMED]], len(films)
            else:
                sure.append((path, films[0]))
            for number in films:
                other = claims.setdefault(number, path)
                if other != path:
                    found.contested.setdefault(self._files[number], (other, path))
                if len(films) > 1:
                    found._pointed.setdefault(self._files[number], path)
        for path, number in sure:
            film = self._files[number]
            if film not in found.contested:
                found.films[path] = film
                # A name without an ending is one of the ways to name a film; nothing differs.
                if way != "ending" or stem_of(path) != path:
                    found.ways[way] += 1
                    found.examples.setdefault(way, (path, film))
        return left, [number for number in free if number not in claims] if claims else free

    def _named(self) -> dict[str, str]:
        """Films by name, the first of each."""
        if self._films is None:
            self._films = {}
            for path, film in zip(self._paths, self._files, strict=True):
                self._films.setdefault(stem_of(path.rpartition("/")[2]), film)
        return self._films

    def _all_ends(self, way: str) -> _Ends:
        if way not in self._alone:
            self._alone[way] = self._ends(way, range(len(self._files)))
        return self._alone[way]

    def _ends(self, way: str, free: Iterable[int]) -> _Ends:
        if way == "path" or (self._layout is None and way != "zeros"):
            of_film = {"capitals": _small_ending, "ending": stem_of}.get(way, str)
            return _Ends(((i, of_film(self._paths[i])) for i in free), self._above)
        if way == "zeros":
            numbers = ((i, _film_number(self._paths[i])) for i in free)
            return _Ends(((i, path) for i, path in numbers if path), self._above)
        whole = ((i, self._published(self._whole(self._paths[i]))) for i in free)
        of_film = {"capitals": _small_ending, "ending": stem_of}.get(way, str)
        return _Ends(((i, of_film(path)) for i, path in whole), "")

    def _of_cell(self, way: str, path: str) -> str | None:
        path = path[3:] if _DRIVE.match(path) else path
        if way == "zeros":
            return _cell_number(path)
        if way != "path" and self._layout is not None:
            path = self._published(path)
        return {"capitals": _small_ending, "ending": stem_of}.get(way, str)(path)

    def _whole(self, path: str) -> str:
        return f"{self._above}/{path}" if self._above else path

    def _published(self, path: str) -> str:
        """The end of a path from the first of the publisher's folders on."""
        if self._layout is None:
            return path
        parts = path.split("/")
        first = len(parts) - 1
        while first and self._layout(parts[first - 1]):
            first -= 1
        return "/".join(parts[first:])
