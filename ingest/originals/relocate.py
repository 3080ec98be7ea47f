"""Relocation: films whose files were moved are found again below a folder, by their digests.

Of a shard, the digests are those of the pictures in its rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from ingest.images.file_tree import Tree, open_plain, read_plain, scan, shown
from ingest.images.pixels import large_alone
from ingest.originals.roots import add_root
from ingest.sources.hub.shards import ENDINGS, open_shard, pictures_in, shard_row
from store import BadImage, BadSource, Row

#: Rows written in one commit, and files hashed between two reports of progress.
_ROWS, _FILES = 5000, 64


class HasSources(Protocol):
    """What is asked of a gallery."""

    uri: str

    def elsewhere(self, place: str | None, prefix: str | None) -> Iterator[tuple[str, str, bytes]]:
        """Id, source and sha256 of rows."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct stored rows."""


@dataclass(frozen=True, slots=True)
class Relocated:
    """Counts of one relocation.

    Attributes:
        root: the folder, links in its own path resolved.
        files: plain files below it that were hashed, shards among them.
        refused: links and files that could not be read.
        moved: rows whose film was found there and that name its new place now, or would.
        in_place: rows whose file is where they say, there or anywhere else.
        missing: rows whose file is in neither place.
        others: files that are of no row.
    """

    root: str
    files: int
    refused: int
    moved: int
    in_place: int
    missing: int
    others: int


def relocate(
    gallery: HasSources,
    root: str | Path,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Relocated:
    """Look below a folder for the files of rows that are no longer in their place.

    A row is of a file, or of a picture in a shard, that has the same sha256. Where several have it,
    the one whose path agrees with the former one from its end is taken. Rows whose file is still in
    its place keep it. The folder is recorded, so that originals below it may be shown.

    Args:
        gallery: its rows get the new places.
        root: the folder; no link in it is followed.
        dry_run: count only.
        progress: called with files hashed and in all.

    Raises:
        BadSource: the folder cannot be read.
        OSError: it cannot be recorded.
    """
    tree = scan(root)
    places, refused, total = _digests(tree, progress)
    moved: list[Row] = []
    in_place = missing = 0
    found: set[bytes] = set()
    used = False
    for id_, source, sha256 in gallery.elsewhere(None, None):
        if not Path(source).is_absolute():
            continue  # an array, or a place beyond this machine
        here = places.get(sha256, [])
        found.update([sha256] if here else [])
        if source in here or _is_there(source):
            in_place += 1
            used = used or source in here
        elif here:
            used = True
            place = max(here, key=lambda one: _agreement(one, source))
            moved.append(Row(id_, sha256, source=place, told=frozenset({"source"})))
        else:
            missing += 1
    count = len(moved)
    if not dry_run:
        if used:
            add_root(gallery.uri, tree.root)
        rows = iter(moved)
        count = 0
        while part := list(islice(rows, _ROWS)):
            count += gallery.update_metadata(part)
    ours = {_file_of(place) for sha256 in found for place in places[sha256]}
    others = total - len(ours)
    return Relocated(shown(str(tree.root)), total, refused, count, in_place, missing, others)


def _digests(
    tree: Tree, progress: Callable[[int, int], None] | None
) -> tuple[dict[bytes, list[str]], int, int]:
    """Places of films by the sha256 of their bytes; files that cannot be read, and that can."""

    def digests(relative: str) -> list[tuple[bytes, str]] | None:
        path = tree.root / relative
        try:
            if relative.lower().endswith(ENDINGS):
                return [
                    (hashlib.sha256(data).digest(), shown(f"{path}#{row}"))
                    for row, data in pictures_in(open_shard(path))
                ]
            with open_plain(path) as file:
                size = os.fstat(file.fileno()).st_size
            with large_alone(0, size):
                return [(hashlib.sha256(read_plain(path)).digest(), shown(str(path)))]
        except (BadImage, BadSource):
            return None

    found: dict[bytes, list[str]] = {}
    refused, read = len(tree.refused), 0
    with ThreadPoolExecutor(os.cpu_count() or 1, "hash") as pool:
        for start in range(0, len(tree.files), _FILES):
            part = tree.files[start : start + _FILES]
            for films in pool.map(digests, part):
                if films is None:
                    refused += 1
                    continue
                read += 1
                for sha256, place in films:
                    found.setdefault(sha256, []).append(place)
            if progress is not None:
                progress(start + len(part), len(tree.files))
    return found, refused, read


def _file_of(place: str) -> str:
    shard = shard_row(place)
    return place if shard is None else str(shard[0])


def _is_there(source: str) -> bool:
    shard = shard_row(source)
    try:
        with open_plain(Path(source) if shard is None else shard[0]):
            return True
    except (BadImage, OSError, ValueError):
        return False


def _agreement(place: str, former: str) -> int:
    """How many parts of two paths agree, from their ends."""
    pairs = zip(reversed(Path(place).parts), reversed(Path(former).parts), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
