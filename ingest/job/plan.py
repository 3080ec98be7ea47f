"""Plan of a batch: which images are skipped, corrected, opened or refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.images.file_tree import shown
from ingest.images.reader_version import is_older, is_read_anew
from ingest.job.file_memory import FileMemory, Seen
from ingest.job.pipeline import (
    Aside,
    Outcome,
    Same,
    identify,
    known_of,
    lacks_study,
    open_file,
    open_record,
    open_remote,
    same_file,
)
from ingest.job.protocols import Target
from ingest.job.report import IngestReport
from ingest.record import ImageFile, ImageRecord, Item, Rejection, RemoteImage, told
from ingest.sources.source import Source
from store import Kept, UsageError, Where


@dataclass(frozen=True, slots=True)
class End:
    """Marker of the end of a batch, with its number of items."""

    items: int


class Planner:
    """Compares a source with the gallery's rows and the memory of its files.

    Args:
        gallery: tells which rows are there.
        memory: tells which files did not change.
        note_present: whether ``present`` is wanted.
        side: of what the encoder sees; see ``ingest.images.pixels.reduction``.
        tells: of the source.
        kept: films that people took out stay out.

    Attributes:
        present: sources of all that was seen, read or refused.
        kept: see above.
    """

    def __init__(
        self,
        gallery: Target,
        memory: FileMemory,
        *,
        note_present: bool,
        side: int = 0,
        tells: Collection[str] = (),
        kept: Kept,
    ) -> None:
        self.present: set[str] = set()
        self.kept = kept
        self._tells = tuple(tells)
        self._gallery, self._memory, self._note_present = gallery, memory, note_present
        self._side = side
        self._seen_ids: set[str] = set()

    def tasks(self, records: Iterator[Item], size: int, pool: ThreadPoolExecutor) -> Iterator[Any]:
        """For each image a callable that opens it, or its outcome; an End after each batch.

        Args:
            records: of the source.
            size: of a batch.
            pool: reads headers where only the file can tell its id.
        """
        while chunk := list(islice(records, size)):
            self.kept.refresh()
            if self._note_present:
                self.present.update(item.source for item in chunk)
            yield from self._plan(chunk, pool)
            yield End(len(chunk))

    def _plan(
        self, chunk: list[Item], pool: ThreadPoolExecutor
    ) -> Iterator[Callable[[], Outcome] | Outcome]:
        files = [item for item in chunk if isinstance(item, ImageFile)]
        remembered = self._memory.recall([file.source for file in files])
        unchanged = {
            file.source: seen
            for file in files
            if (seen := remembered.get(file.source)) and _matches(file.path, seen)
        }
        to_ask = [f for f in files if f.id is None and f.source not in unchanged]
        asked = dict(zip((f.source for f in to_ask), pool.map(identify, to_ask), strict=True))
        named: list[tuple[str, ImageRecord | ImageFile | RemoteImage]] = []
        for item in chunk:
            found = _name(item, unchanged, asked)
            if isinstance(found, Rejection):
                yield found
            elif not isinstance(item, Rejection):
                refusal = self._refuse(found, item)
                if refusal is not None:
                    yield refusal
                else:
                    named.append((found, item))
        stored = self._gallery.rows([id_ for id_, _ in named])
        for id_, item in named:
            row = stored.get(id_)
            if row is None and (why := self.kept.aside.get(id_)):
                yield Aside(id_, item.source, why)
                continue
            if isinstance(item, ImageRecord):
                same = row is not None and item.sha256 == row.sha256
                if row is not None and same and not is_read_anew(row, self._side):
                    yield Same(row, known_of(item, self._tells))
                else:
                    yield partial(open_record, item, self._side, self._tells, again=same)
                continue
            if isinstance(item, RemoteImage):
                if row is not None and not is_older(row):
                    yield Same(row, told(item.metadata))
                else:
                    yield partial(open_remote, item, row, side=self._side)
                continue
            seen = unchanged.get(item.source)
            known = bool(seen and row and (seen.id, seen.sha256) == (id_, row.sha256))
            if row and known and not is_older(row):
                look = partial(same_file, item, row)
                yield look if lacks_study(item, row) else look()
            else:
                yield partial(open_file, item, id_, row, side=self._side, unchanged=known)

    def _refuse(self, id_: str, item: ImageRecord | ImageFile | RemoteImage) -> Rejection | None:
        source = item.source
        if not id_:
            return Rejection(source, "no_id", "the record has an empty id; every row needs one")
        if id_ in self._seen_ids:
            return Rejection(
                source,
                "duplicate_id",
                f"id {id_!r} occurred before in this source; the first one was kept",
            )
        self._seen_ids.add(id_)
        return None


def _matches(path: Path, seen: Seen) -> bool:
    try:
        return seen.matches(os.lstat(path))
    except OSError:
        return False


def _name(
    item: Item,
    unchanged: dict[str, Seen],
    asked: dict[str, Mapping[str, Any] | Rejection],
) -> str | Rejection:
    """An item's id, or why it is refused."""
    if isinstance(item, Rejection):
        return item
    if not isinstance(item, ImageFile) or item.id is not None:
        return item.id or ""
    if item.source in unchanged:
        return unchanged[item.source].id
    answer = asked[item.source]
    return answer if isinstance(answer, Rejection) else str(answer.get("id") or item.otherwise)


_PIECE = 1000


def gone_ids(gallery: Any, dataset: str, root: Path, present: Collection[str]) -> list[str]:
    """The ids of a data set's rows that came from below a folder and whose file is not there.

    Args:
        gallery: a ``store.Gallery``.
        dataset: of the rows.
        root: the folder; rows from elsewhere are never among them.
        present: sources of all that was found below the folder, read or refused.

    Raises:
        UsageError: it would be all of them: then the folder is not there rather than its files.
    """
    gallery.refresh()
    ids = gallery.ids(Where(dataset=(dataset,)))
    below = shown(str(root)).rstrip("/") + ("#" if root.is_file() else "/")
    mine, gone = 0, []
    for start in range(0, len(ids), _PIECE):
        for row in gallery.rows(ids[start : start + _PIECE]).values():
            if not row.source.startswith(below):
                continue
            mine += 1
            if row.source not in present and not _below_refused(row.source, below, present):
                gone.append(row.id)
    if gone and len(gone) == mine:
        raise UsageError(
            f"all {mine:,} rows from {root} have lost their file; a folder that is empty or not "
            "mounted is not pruned. To remove them all: cxr delete --where "
            f"dataset={dataset}"
        )
    return sorted(gone)


def _below_refused(source: str, below: str, present: Collection[str]) -> bool:
    """Whether a folder above it, or its shard, is there but could not be looked into."""
    if source.rpartition("#")[0] in present:
        return True
    place = source.rfind("/")
    while place >= len(below):
        if source[:place] in present:
            return True
        place = source.rfind("/", 0, place)
    return False


def prune_gone(
    gallery: Any,
    source: Source,
    present: Collection[str],
    report: IngestReport,
    *,
    delete: bool,
) -> None:
    """Report the rows whose file is gone, and delete them if so wished."""
    assert source.root is not None
    report.gone = gone_ids(gallery, source.name, source.root, present)
    if delete and report.gone:
        report.pruned = gallery.delete(ids=report.gone)
