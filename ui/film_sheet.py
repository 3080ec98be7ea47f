"""Sheets of films for CSV files, with all their metadata: hits of a search, lists of an audit.

Left out are texts of reports and local paths, unless somebody asks for them: of a source the file's
name stands there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING

from ui import word_hits
from ui.tables import Sheet, shown
from ui.word_hits import is_word_hit

if TYPE_CHECKING:
    from store import Gallery, Hit, Row

#: Columns that name a film in an audit's list, and before them for the other one of a pair.
_ID, _OTHER = "id", "other "


def hits(found: Sequence[Hit], paths: bool = False, reports: bool = False) -> Sheet:
    """Sheet of hits: one line each; of a search in words with BM25 and what found them.

    Args:
        found: best first.
        paths: whether a source is told with its folders.
        reports: whether texts of reports are told.
    """
    rows = [hit.row for hit in found]
    own = own_columns(rows)
    in_words = any(map(is_word_hit, found))
    words = ["bm25", "rank by words", "rank by vectors"] if in_words else []
    head = ["rank", _ID, "cosine", *_columns(), "outcome", *own]
    head += words + (["report"] if reports else [])
    lines: list[list[object]] = [
        [
            hit.rank,
            hit.row.id,
            _number(word_hits.cosine_of(hit)),
            *_cells(hit.row, own, paths),
            *([_number(hit.bm25), hit.words_rank, hit.vector_rank] if is_word_hit(hit) else []),
            *([hit.row.report] if reports else []),
        ]
        for hit in found
    ]
    return head, lines


def whole(sheet: Sheet, gallery: Gallery, paths: bool = False) -> Sheet:
    """A sheet whose lines name films, with all their metadata behind.

    Args:
        sheet: with a column ``id``, and ``other id`` where it is of pairs.
        gallery: that holds them.
        paths: whether a source is told with its folders.
    """
    head, lines = sheet
    places = {name: at for at, name in enumerate(head) if name in (_ID, _OTHER + _ID)}
    rows = gallery.rows({str(line[at]) for line in lines for at in places.values()})
    own = own_columns(rows.values())
    here = {name.removeprefix(_OTHER) for name in head}
    names = [*_columns(), "outcome", *own]
    kept = [at for at, name in enumerate(names) if name not in here]
    more = [[names[at] for at in kept] for _ in places]
    for place, prefixed in zip(places, more, strict=True):
        if place != _ID:
            prefixed[:] = [_OTHER + name for name in prefixed]
    behind = {id_: _cells(row, own, paths) for id_, row in rows.items()}
    blank: list[object] = [None] * len(names)
    return [*head, *(name for part in more for name in part)], [
        [
            *line,
            *(behind.get(str(line[at]), blank)[cell] for at in places.values() for cell in kept),
        ]
        for line in lines
    ]


def own_columns(rows: Collection[Row]) -> list[str]:
    """Names of the user's own columns that films have, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.extra))


def _columns() -> list[str]:
    from store import COLUMNS

    return [name for name, column in COLUMNS.items() if "csv" not in column.absent_from]


def _cells(row: Row, own: Sequence[str], paths: bool) -> list[object]:
    told: Mapping[str, object] = shown(row, "csv")
    cells = [
        "; ".join(value) if isinstance(value, tuple) else value
        for name, value in told.items()
        if name != "source"
    ]
    source = row.source if paths or "://" in row.source else PurePath(row.source).name
    cells.insert([*told].index("source"), source)
    return [*cells, row.outcome, *(row.extra.get(name) for name in own)]


def _number(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(f"{value:.6f}")
