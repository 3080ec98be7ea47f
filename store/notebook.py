"""Films in a notebook: hits, galleries and evaluations as HTML and as data frames."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

from store.schema import COLUMNS, Hit, Row

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

H = TypeVar("H", bound=Hit)
#: Ids to PNG of their thumbnails.
Pictures = Callable[[Sequence[str]], Mapping[str, bytes | None]]
#: Most films drawn in a notebook's cell.
_MOST = 50
_CARD = "display:inline-block;width:150px;margin:4px;vertical-align:top;font:12px sans-serif"
_PICTURE = "width:150px;height:150px;object-fit:contain;background:#000"
_CELL = "padding:2px 10px;text-align:right"


#: What a hit of a search in words has beside its score.
_OF_WORDS = ("bm25", "cosine", "words_rank", "vector_rank")


class Hits(list[H]):
    """Hits of a query, best first: a list that a notebook shows with pictures.

    ``to_arrow``, ``to_pandas`` and ``to_polars`` make a table of them, one line a hit.
    """

    def __init__(self, hits: Iterable[H] = (), pictures: Pictures | None = None) -> None:
        super().__init__(hits)
        self._pictures = pictures

    def __reduce__(self) -> tuple[Any, ...]:
        return Hits, ([*self],)  # caches keep hits, and a gallery cannot be pickled

    @overload
    def __getitem__(self, at: SupportsIndex, /) -> H: ...
    @overload
    def __getitem__(self, at: slice, /) -> Hits[H]: ...
    def __getitem__(self, at: SupportsIndex | slice, /) -> H | Hits[H]:
        if isinstance(at, slice):
            return Hits(super().__getitem__(at), self._pictures)
        return super().__getitem__(at)

    def to_arrow(self) -> pa.Table:
        """Arrow table: rank, id, score, then all metadata; the user's own columns behind.

        The score is the cosine. Of a search in words it is what ranked them, and BM25, cosine and
        ranks of either half stand beside it.
        """
        columns = films_columns([hit.row for hit in self])
        ranked = {"rank": [hit.rank for hit in self], "id": columns.pop("id")}
        ranked["score"] = [hit.score for hit in self]
        for name in _OF_WORDS:
            if any(hasattr(hit, name) for hit in self):
                ranked[name] = [getattr(hit, name) for hit in self]
        return _arrow({**ranked, **columns})

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a pandas data frame."""
        return pandas_of(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """The same as a polars data frame; polars is not among the requirements."""
        return polars_of(self.to_arrow())

    def _repr_html_(self) -> str:
        shown = self[:_MOST]
        pictures = self._pictures([hit.row.id for hit in shown]) if self._pictures else {}
        cards = [
            _card(hit.row, pictures.get(hit.row.id), f"{hit.rank}. {hit.score:.4f}")
            for hit in shown
        ]
        more = f"<p>and {len(self) - _MOST:,} more</p>" if len(self) > _MOST else ""
        return f"<div>{''.join(cards) or 'No hits.'}</div>{more}"


def films_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Metadata of films by column; lists for findings, None where a film says nothing."""
    own = list(dict.fromkeys(name for row in rows for name in row.extra))
    found: dict[str, list[Any]] = {"id": [row.id for row in rows]}
    for name in COLUMNS:
        values = [getattr(row, name) for row in rows]
        found[name] = [list(one) if isinstance(one, tuple) else one for one in values]
    found["outcome"] = [row.outcome for row in rows]
    for name in ("width", "height", "batch", "ingested_at"):
        found[name] = [getattr(row, name) for row in rows]
    for name in own:
        found[name] = [row.extra.get(name) for row in rows]
    return found


def table_of(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Arrow table of records that have the same keys."""
    import pyarrow as pa

    return pa.Table.from_pylist([dict(one) for one in records])


def pandas_of(table: pa.Table) -> pandas.DataFrame:
    """A table as a pandas data frame.

    Raises:
        ImportError: pandas is not installed.
    """
    import_module("pandas")
    return table.to_pandas()


def polars_of(table: pa.Table) -> polars.DataFrame:
    """A table as a polars data frame.

    Raises:
        ImportError: polars is not installed.
    """
    found: polars.DataFrame = import_module("polars").from_arrow(table)
    return found


def films_html(head: str, rows: Sequence[Row], pictures: Mapping[str, bytes | None]) -> str:
    """Some films with their pictures, under a line of text."""
    cards = "".join(_card(row, pictures.get(row.id), "") for row in rows)
    return f"<p>{escape(head)}</p><div>{cards}</div>"


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str]) -> str:
    """A table of text, with notes below."""
    top = "".join(f'<th style="{_CELL}">{escape(one)}</th>' for one in head)
    body = "".join(
        f"<tr>{''.join(f'<td style={_CELL!r}>{escape(one)}</td>' for one in row)}</tr>"
        for row in rows
    )
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{said}"


def _card(row: Row, png: bytes | None, above: str) -> str:
    picture = f'<div style="{_PICTURE}"></div>'
    if png is not None:
        data = base64.b64encode(png).decode()
        source = f"data:image/png;base64,{data}"
        picture = f'<img style="{_PICTURE}" alt="film {escape(row.id)}" src="{source}">'
    said = ", ".join(row.named_findings) or f"({row.outcome})"
    lines = [f"<b>{escape(above)}</b>" if above else "", escape(said), escape(row.id)]
    text = "<br>".join(line for line in lines if line)
    return f'<div style="{_CARD}" title="{escape(row.id)}">{picture}<br>{text}</div>'


def _arrow(columns: Mapping[str, list[Any]]) -> pa.Table:
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "strings": pa.list_(pa.string()),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "date": pa.date32(),
    }
    made = {}
    for name, values in columns.items():
        made[name] = pa.array(values, kinds[COLUMNS[name].kind] if name in COLUMNS else None)
    return pa.table(made)
