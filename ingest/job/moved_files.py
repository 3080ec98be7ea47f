"""Check of films stored under the same ids from another folder: moved files, or other films?

A folder called as one that was read before gives the same ids. Where the bytes are the same, the
folder was moved or copied and rows follow their files. Where they are not, a film would take the
place of another, so that the run is refused before it has written anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.images.file_tree import shown
from ingest.images.pixels import large_alone
from ingest.job.file_memory import FileMemory, Seen
from ingest.job.pipeline import read_file
from ingest.job.protocols import Target
from ingest.record import ImageFile
from ingest.sources.source import Source
from store import BadImage, UsageError

#: Files hashed between two looks at whether it is clear already.
_PIECE = 64


@dataclass(frozen=True, slots=True)
class _Pair:
    """A film of this run and the stored row of its id, whose file is another."""

    film: ImageFile
    id: str
    source: str
    sha256: bytes


def check_moved(
    source: Source,
    gallery: Target,
    memory: FileMemory,
    tell: Callable[[int, int], None] | None = None,
) -> tuple[Source, int]:
    """The source, once none of its films takes the place of another from another folder.

    Costs one scan of ids and sources; files are hashed only where the gallery knows their ids from
    elsewhere, and then not again by the job. A folder counts as moved although some of its files
    changed, if what they replace is gone from its place and most of the known films are unchanged.

    Args:
        source: its records are used up.
        gallery: tells which rows came from elsewhere.
        memory: learns what was hashed.
        tell: called with how many films are hashed, of how many.

    Returns:
        The same source, to be read in its place, and how many files were hashed for good.

    Raises:
        UsageError: films of another folder have some of the ids.
    """
    if source.root is None:
        return source, 0
    stored = gallery.elsewhere(shown(str(source.root)), source.prefix)
    first = next(stored, None)
    if first is None:
        return source, 0
    items = list(source.records)
    films = {item.id or item.otherwise: item for item in items if isinstance(item, ImageFile)}
    pairs = [
        _Pair(films[id_], id_, place, sha256)
        for id_, place, sha256 in (first, *stored)
        if id_ in films and films[id_].source != place and not _names_itself(films[id_])
    ]
    hashed = _refuse_others(source, pairs, memory, tell)
    return replace(source, records=iter(items)), hashed


def _refuse_others(
    source: Source,
    pairs: list[_Pair],
    memory: FileMemory,
    tell: Callable[[int, int], None] | None,
) -> int:
    others: list[_Pair] = []
    hashed = 0
    with ThreadPoolExecutor(os.cpu_count() or 1, "hash") as pool:
        for start in range(0, len(pairs), _PIECE):
            part = pairs[start : start + _PIECE]
            found = list(zip(part, pool.map(_digest, part), strict=True))
            learnt = [(pair.film.source, seen) for pair, (_, seen) in found if seen is not None]
            memory.remember(learnt)
            hashed += len(learnt)
            new = [
                pair
                for pair, (sha256, _) in found
                if sha256 not in (None, pair.sha256) and not _is_one_file(pair)
            ]
            others += new
            both_there = any(_is_there(pair.source) for pair in new)
            if others and (both_there or 2 * len(others) >= len(pairs)):
                raise UsageError(_message(source, pairs, others))
            if tell is not None:
                tell(start + len(part), len(pairs))
    return hashed


def _names_itself(film: ImageFile) -> bool:
    """Whether a file tells its own id: then it is that film wherever it lies."""
    if film.id is not None or film.identify is None:
        return False
    try:
        return bool(film.identify(film.path, film.source).get("id"))
    except (BadImage, OSError):
        return False


def _is_there(place: str) -> bool:
    try:
        return Path(place).exists() or Path(place.rpartition("#")[0] or place).exists()
    except (OSError, ValueError):
        return False  # not for this user: as good as gone


def _is_one_file(pair: _Pair) -> bool:
    """Whether both paths lead to one file, as mounts may: then it changed in its place."""
    try:
        return Path(pair.source).samefile(pair.film.path)
    except (OSError, ValueError):
        return False


def _digest(pair: _Pair) -> tuple[bytes | None, Seen | None]:
    """The sha256 of a film's file; None for one that cannot be read, which the job refuses."""
    film = pair.film
    try:
        stat = os.lstat(film.path)
        with large_alone(0, stat.st_size if film.extract is None else 0):
            _, sha256, seen = read_file(film, pair.id, stat)
    except (BadImage, OSError):
        return None, None
    return sha256, seen


def _message(source: Source, pairs: list[_Pair], others: list[_Pair]) -> str:
    one = others[0]
    which = "they" if len(others) == len(pairs) else f"{len(others):,} or more of them"
    own_name = "a name of their own with --dataset NAME (a published set: another --store)"
    if source.prefix is None:
        own_name = "ids of their own: another --id-column, or none and --dataset NAME"
    return (
        f"{len(pairs):,} films here have the ids of films that came from another folder, and "
        f"{which} are not the same films: {one.id!r} came from {one.source}, and "
        f"{one.film.source} has other bytes. Nothing was stored. Give the films of this folder "
        f"{own_name}; or, if they are new versions of the same films, let them take their place: "
        "--replace"
    )
