"""Approximate answers from LanceDB's own vector index: on disk or in a bucket, not in memory.

Candidates come from the index; their scores are computed again from the stored vectors, exactly as
those of the mirror. What can be missing is a neighbour that the index did not propose: how often,
was measured when the index was built, and is said with every answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from store.errors import UsageError
from store.schema import Hit, Vectors
from store.search.base import Answerer, Remake
from store.search.table_reader import Tabled, matrix, rescored
from store.table import lance
from store.table.filters import Where

#: Where the table's schema keeps what was measured: with the column, so that it travels with it.
NOTE = "cxr.index"
#: Up to this many rows that pass a filter are compared one by one, which is exact.
FEW = 10_000
#: Of the index, kept in memory over versions; the rest is read when a query asks for it.
_CACHE_BYTES = 256 << 20
#: Filters whose rows are not counted again.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class IndexNote:
    """What was measured when an index was built.

    Attributes:
        kind: as LanceDB calls it, e.g. ``IVF_RQ``.
        name: of the index.
        partitions: of the vectors.
        probes: partitions looked into per query, at least.
        candidates: proposed per hit asked for, and scored exactly.
        recall_at_10: mean share of the exact ten nearest that were found, over the sample.
        sample: stored rows that asked.
        rows: of the table when it was built.
        table_version: that it was built from.
        built_at: UTC.
    """

    kind: str
    name: str
    partitions: int
    probes: int
    candidates: int
    recall_at_10: float
    sample: int
    rows: int
    table_version: int
    built_at: str


def note_of(handle: Any) -> IndexNote | None:
    """What is noted of a table's vector index; None when there is no index, or none of ours."""
    noted = (handle.schema.field("embedding").metadata or {}).get(NOTE.encode())
    try:
        note = IndexNote(**json.loads(noted)) if noted else None
    except (ValueError, TypeError):
        return None
    there = {found.name for found in handle.list_indices()}
    return note if note and note.name in there else None


class Indexed(Tabled):
    """One version of the table and its index; see Answerer."""

    def __init__(self, handle: Any, token: str, note: IndexNote) -> None:
        super().__init__(handle, token)
        self.note = note
        self._counted: dict[str, int] = {}

    @cached_property
    def unindexed(self) -> int:
        """Rows that came after the index and are compared one by one."""
        found = self.handle.index_stats(self.note.name)
        return int(found.num_unindexed_rows) if found is not None else self.count

    @property
    def manner(self) -> dict[str, Any]:
        """What to say of every answer."""
        return {"approximate": {**asdict(self.note), "rows_not_indexed": self.unindexed}}

    @property
    def searching(self) -> dict[str, Any]:
        """LanceDB's index, on disk or in a bucket."""
        return {"index": self.note.kind, "bytes": 0, "second": None}

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, best first, equal scores by id."""
        condition = self._condition(where)
        exact = condition is not None and self._passing(condition) <= FEW
        return self.hits([self._nearest(one, k, condition, exclude, exact) for one in queries])

    def _passing(self, condition: str) -> int:
        if condition not in self._counted:
            if len(self._counted) >= _REMEMBERED:
                self._counted.clear()
            self._counted[condition] = int(self.handle.count_rows(condition))
        return self._counted[condition]

    def _nearest(
        self,
        query: Vectors,
        k: int,
        condition: str | None,
        exclude: Sequence[str],
        exact: bool,
    ) -> tuple[list[int], list[float]]:
        banned = set(exclude)
        found = propose(
            self.handle, query, k * self.note.candidates + len(banned), self.note, condition, exact
        )
        ids = found["id"].to_pylist()
        kept = [place for place, id_ in enumerate(ids) if id_ not in banned]
        order, scores = rescored(
            query, matrix(found["embedding"])[kept], [ids[place] for place in kept], k
        )
        row_ids = found["_rowid"].to_pylist()
        return [row_ids[kept[place]] for place in order], scores.tolist()


def propose(
    handle: Any,
    query: Vectors,
    count: int,
    note: IndexNote | None,
    condition: str | None = None,
    exact: bool = False,
) -> Any:
    """Candidates for one query: an Arrow table of id, _rowid and embedding.

    Args:
        handle: the table, pinned.
        query: float32 (d,), unit length.
        count: how many.
        note: of the index; None compares all rows.
        condition: only rows that pass, applied before the search.
        exact: compare all rows that pass.
    """
    asked = (
        handle.search(query, vector_column_name="embedding")
        .distance_type("cosine")
        .select(["id", "_rowid", "embedding", "_distance"])
        .limit(count)
    )
    if condition is not None:
        asked = asked.where(condition, prefilter=True)
    if note is None or exact:
        asked = asked.bypass_vector_index()
    else:
        # More partitions than that are looked into only where a filter leaves too few rows.
        asked = asked.minimum_nprobes(note.probes).maximum_nprobes(0)
    with lance.panics_as_errors():
        return asked.to_arrow()


class IndexedManner:
    """Follows the table; there is nothing to load, and a bounded part of the index is kept."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._caches = lance.session(_CACHE_BYTES)

    def follow(self, before: Answerer | None, handle: Any, remake: Remake) -> Indexed:
        """See Manner."""
        note = note_of(handle)
        if note is None:
            raise UsageError(
                f"the gallery at {self._uri} has no search index; build one with: cxr index build "
                f"--store {self._uri}, or search exactly without --index lance"
            )
        version = int(handle.version)
        kept = lance.pin(self._uri, version, self._caches)
        return Indexed(kept, lance.token(handle, version) or "", note)

    def close(self) -> None:
        """Nothing is held."""
