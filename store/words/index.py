"""LanceDB's full-text index over the terms of reports: the column, when to build and refresh it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from store.words.terms import searched

#: The column of terms, beside ``report`` and written with it.
COLUMN = "report_words"
#: Its rules, noted with the column. Others than these make it be written again.
RULES = "1"
#: Of a column that was added beside reports, until these have been read.
_NO_RULES = "0"
#: The column of the reports themselves: ours, or in older galleries one of the user's own.
REPORT = "report"
_NOTE = b"cxr.words"
_NAME = "report_words_idx"
#: Reports that are not in the index are read one by one: 5,000 take 16 ms (of 100,000 reports of
#: 60 words). Putting them into it writes it anew: 3 s. So a twentieth of all rows may wait while
#: an ingestion goes on, at least and at most these; and these few when it has ended.
_LEAST, _MOST, FEW = 1_000, 20_000, 500
#: Reports that are read again at once.
_BLOCK = 8192


def field(rules: str = RULES) -> pa.Field:
    """The column of terms, as a table has it."""
    return pa.field(COLUMN, pa.string(), metadata={_NOTE: rules.encode()})


def missing_field(schema: pa.Schema) -> pa.Field | None:
    """The column of terms where a table lacks it; None where it has it, or another of its name.

    Of a table that has reports already it says that they are not in it yet.
    """
    if COLUMN in schema.names:
        return None
    return field(_NO_RULES if _is_text(schema, REPORT) else RULES)


def has_column(schema: pa.Schema) -> bool:
    """Whether a table has the column of terms; one of the user's own of that name is none."""
    return _rules(schema) is not None


def is_outdated(schema: pa.Schema) -> bool:
    """Whether a table has reports without terms, or whose terms were made by other rules."""
    if has_column(schema):
        return _rules(schema) != RULES
    return COLUMN not in schema.names and _is_text(schema, REPORT)


def _is_text(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and bool(pa.types.is_string(schema.field(name).type))


def _rules(schema: pa.Schema) -> str | None:
    if COLUMN not in schema.names:
        return None
    found = (schema.field(COLUMN).metadata or {}).get(_NOTE)
    return found.decode() if found else None


def terms_of(reports: Iterable[str | None]) -> pa.Array:
    """The column of terms for some reports; null where there is none."""
    return pa.array([None if one is None else searched(one) for one in reports], pa.string())


def is_due(handle: Any, rows: int, *, ended: bool = False) -> bool:
    """Whether the index is to be brought up to date.

    Args:
        handle: the table.
        rows: how many it has.
        ended: whether no more rows are about to come.
    """
    if is_outdated(handle.schema):
        return True
    if not has_column(handle.schema) or not is_built(handle):
        return False
    wait = FEW if ended else min(max(rows // 20, _LEAST), _MOST)
    return unindexed(handle) > wait


def is_built(handle: Any) -> bool:
    """Whether there is an index."""
    return any(found.name == _NAME for found in handle.list_indices())


def unindexed(handle: Any) -> int:
    """Rows that are not in the index, with a report or without."""
    return int(handle.index_stats(_NAME).num_unindexed_rows)


def build(handle: Any) -> None:
    """Build the index where there is none; LanceDB's optimize brings one up to date.

    Done before the first report comes, so that no version of a table has reports without it:
    LanceDB would search them all the same, but by rules of its own.
    """
    from lancedb.index import FTS

    if not has_column(handle.schema) or is_built(handle):
        return
    as_it_is = FTS(
        with_position=True,
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
    )
    handle.create_index(COLUMN, config=as_it_is, name=_NAME)


def rewrite(handle: Any, has_report: str, unchanged: str) -> None:
    """Make the terms of all reports anew by the present rules, where they were made by others.

    Args:
        handle: of the table.
        has_report: condition of rows with a report.
        unchanged: condition of a merge that no other writer has changed the report since.
    """
    if not is_outdated(handle.schema):
        return
    if (new := missing_field(handle.schema)) is not None:
        handle.add_columns([new])
    build(handle)
    found = handle.search().where(has_report).select(["id", REPORT]).limit(None)
    key = pa.field("id", pa.string(), nullable=False)
    schema = pa.schema([key, pa.field(REPORT, pa.string()), field()])
    for part in found.to_batches(batch_size=_BLOCK):
        reports = part.column(REPORT)
        cells = [part.column("id"), reports, terms_of(reports.to_pylist())]
        merging = handle.merge_insert("id").when_matched_update_all(where=unchanged)
        merging.execute(pa.Table.from_arrays(cells, schema=schema))
    handle.update_field_metadata({"path": COLUMN, "metadata": {_NOTE.decode(): RULES}})
