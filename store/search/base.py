"""Protocols: a Searcher answers queries over one table version; a Backend makes one per version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from store.schema import Hit, Integers, Row, Vectors
from store.table.column_stats import Range
from store.table.filters import Where

#: What ``--index`` takes.
EXACT = "exact"
LANCE = "lance"
INDEXES = (EXACT, LANCE)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows that stand for a version, evenly spread over its row ids.

    Attributes:
        row_ids: int64 (m,), ascending.
        changed_at: int64 (m,), the version that last changed each row.
        vectors: float32 (m, d).
        searched: an index of just these rows, in any order, where there is one.
    """

    row_ids: Integers
    changed_at: Integers
    vectors: Vectors
    searched: FlatVectors | None = None


class Ranked(NamedTuple):
    """Rows and their scores, best first, equal scores by id; without metadata.

    Attributes:
        row_ids: the table's row ids.
        ids: of the same rows.
        scores: of the same rows.
    """

    row_ids: Sequence[int]
    ids: Sequence[str]
    scores: Sequence[float]


class Searcher(Protocol):
    """Search over one version of the table. Never changed; Gallery swaps it whole.

    One that has all vectors in memory is a Snapshot too.

    A version that was cleaned away shows by an error with "not found" in it; Gallery then follows
    to the newest and asks again.
    """

    @property
    def handle(self) -> Any:
        """The LanceDB table, pinned to ``version``."""

    @property
    def version(self) -> int:
        """Of the table."""

    @property
    def uuid(self) -> str:
        """Identity of the table."""

    @property
    def token(self) -> str:
        """Digest of the version's manifest, from lance.token."""

    @property
    def count(self) -> int:
        """Number of rows."""

    @property
    def caveats(self) -> dict[str, Any]:
        """Notice to show with results that are approximate or partial; empty when exact."""

    @property
    def index_facts(self) -> dict[str, Any]:
        """Index that is searched, and its bytes: ``{"index": .., "bytes": .., "second": ..}``."""

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, best first, equal scores by id; k is between 1 and ``count``.

        Args:
            queries: float32 (q, d), unit rows.
            k: number of hits.
            where: only rows that pass are found.
            exclude: ids that are not found; unknown ones are ignored.
        """

    def ranked(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[Ranked]:
        """What ``search`` finds, without the metadata of the rows."""

    def rows_at(self, row_ids: Sequence[int]) -> list[Row]:
        """Metadata of rows that are stored, by the table's row ids, in the order asked."""

    def vectors_at(self, row_ids: Sequence[int]) -> Vectors:
        """Vectors of rows that are stored, float32 (n, d), in the order asked."""

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """float32 (n, d), in the order asked. UnknownId when one is missing."""

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """The table's row ids, in the order asked. UnknownId when one is missing."""

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Metadata, in the order asked. UnknownId when one is missing."""

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass a filter, ascending."""

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """Counts of the rows that pass by value, by column."""

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest value of the rows that pass, by column of numbers or dates."""

    def sample(self, most: int) -> Sample:
        """At most this many rows, evenly spread."""


#: Puts another searcher in place, which a function makes of the table's newest version.
Remake = Callable[[Callable[[Any], Searcher]], None]


class Backend(Protocol):
    """A way to find the nearest rows: makes a Searcher for each new version of one table."""

    def follow(self, before: Searcher | None, handle: Any, token: str, remake: Remake) -> Searcher:
        """The searcher of a new version.

        Args:
            before: of the version until now, left as it is; None at first.
            handle: the table, pinned to its newest version.
            token: digest of that version's manifest.
            remake: may be called later, from any thread, to put another searcher in place: one
                that was made in the background, or one that replaces a damaged one.

        Returns:
            A searcher of that version; or ``before``, where the new one is not ready yet.
        """

    def close(self) -> None:
        """Let go of what it holds beyond memory."""


@dataclass(frozen=True, slots=True)
class Sharding:
    """Settings of a mirror in shards, on a cluster.

    Attributes:
        shards: how many.
        ray: address of the cluster, as store.cluster.connection.connect takes it.
        on_lost: ``wait`` for a lost shard until it is rebuilt, or answer without it: ``partial``.
    """

    shards: int
    ray: str = "local"
    on_lost: Literal["wait", "partial"] = "wait"


class FlatVectors(Protocol):
    """Vectors in a FAISS IndexFlatIP, with the order of equal scores: a Snapshot, or Rows."""

    @property
    def index(self) -> Any:
        """The IndexFlatIP over ``vectors``."""

    @property
    def vectors(self) -> Vectors:
        """float32 (n, d), unit rows."""

    def ranks(self, positions: Integers) -> Integers:
        """Numbers that order rows of equal scores, int64 (m,)."""
