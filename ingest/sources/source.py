"""Source: the type that every kind of source returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.record import Item, Rejection
from ingest.reports.personal import Reports
from store import BadSource, UsageError


@dataclass(frozen=True, slots=True)
class Source:
    """Stream of images on their way in, read as they are asked for.

    Attributes:
        name: a short name for batches and reports, e.g. ``pneumoniamnist``.
        total: how many records and rejections ``records`` yields.
        records: to be read once. May raise BadSource on the way.
        note: a warning for a person, one sentence; ``None`` when all is as it should be.
        root: the folder whose files these are, so that rows of files that are gone can be told
            from rows of other places; ``None`` for a source that is not a folder.
        columns: the user's own columns in ``extra``: name to ``int``, ``float``, ``bool``,
            ``string`` or ``date``.
        tells: names of METADATA of which every ImageRecord speaks, also where it is blank there.
            Of others it speaks where they are not. An ImageFile's ``metadata`` says so itself.
        prefix: what stands before the path below ``root`` in the ids; ``None`` where ids are not
            made of paths.
        refused: those refusals among ``records`` that are known before any file is opened.
        labelling: where labels come from, as JSON has it: of a table ``label_columns``,
            ``kept_columns``, ``not_kept_columns`` and so on, of folder names ``folder_level`` and
            ``folders``; ``masks`` counts the files left out as masks.
        batch: images per commit where they are dear to get; the job's own number when ``None``.
        remote: whether images are fetched from a server, by this process alone.
        reports: all the reports that ``records`` bring, known before any file is opened.
    """

    name: str
    total: int
    records: Iterator[Item]
    note: str | None = None
    root: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tells: tuple[str, ...] = ()
    prefix: str | None = None
    refused: Sequence[Rejection] = ()
    labelling: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    remote: bool = False
    reports: Reports = field(default_factory=Reports)


#: The splits of most data sets.
SPLITS = ("train", "val", "test")


def check_splits(splits: Sequence[str] | None, allowed: Sequence[str] = SPLITS) -> tuple[str, ...]:
    """The splits to read, each once, in the order asked; all that are allowed when ``None``.

    Raises:
        UsageError: another split, or none.
    """
    if splits is None:
        return tuple(allowed)
    if isinstance(splits, str) or not splits or not {*splits} <= {*allowed}:
        asked = splits if isinstance(splits, str) else ", ".join(splits)
        raise UsageError(f"splits must be some of {', '.join(allowed)}; got {asked!r}")
    return tuple(dict.fromkeys(splits))


class SourceUnavailable(BadSource):
    """Error for a data set that is not here and could not be fetched; nothing is damaged."""
