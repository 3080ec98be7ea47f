"""What answers for one version of a gallery's table, and the one place where it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from store.mirror.snapshot import Snapshot
from store.schema import Hit, Integers, Row, Vectors
from store.table.filters import Where

if TYPE_CHECKING:
    from store.mirror.snapshot import Snapshot
    from store.table.column_stats import Range

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
    searched: Searched | None = None


class Answerer(Protocol):
    """One version of the table, ready to answer. Never changed once made; Gallery swaps it whole.

    A version that was cleaned away is told by an error with "not found" in it; Gallery then
    follows to the newest and asks again.
    """

    @property
    def handle(self) -> Any:
        """The table, pinned to ``version``."""

    @property
    def version(self) -> int:
        """Of the table."""

    @property
    def uuid(self) -> str:
        """Identity of the table."""

    @property
    def token(self) -> str:
        """Digest of the version's manifest, from table.token."""

    @property
    def count(self) -> int:
        """How many rows."""

    @property
    def mirror(self) -> Snapshot | None:
        """All vectors in memory, where this kind of answerer has them."""

    @property
    def manner(self) -> dict[str, Any]:
        """What must be said beside every answer, e.g. ``{"approximate": ...}``; empty if exact."""

    @property
    def searching(self) -> dict[str, Any]:
        """Which index answers, and its bytes: ``{"index": .., "bytes": .., "second": ..}``."""

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, best first, equal scores by id; k is between 1 and ``count``.

        Args:
            queries: float32 (q, d), unit rows.
            k: how many hits.
            where: only rows that pass are found.
            exclude: ids that are not found; unknown ones are ignored.
        """

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """float32 (n, d), in the order asked. UnknownId when one is missing."""

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """The table's row ids, in the order asked. UnknownId when one is missing."""

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Metadata, in the order asked. UnknownId when one is missing."""

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass a filter, ascending."""

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """How many of the rows that pass carry each value, by column."""

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest value of the rows that pass, by column of numbers or dates."""

    def sample(self, most: int) -> Sample:
        """At most so many rows, evenly spread."""


#: Swaps in what a function makes of the table, pinned to its newest version.
Remake = Callable[[Callable[[Any], Answerer]], None]


class Manner(Protocol):
    """How one Gallery finds the nearest rows: makes an answerer for each version it follows."""

    def follow(self, before: Answerer | None, handle: Any, remake: Remake) -> Answerer:
        """What answers from now on.

        Args:
            before: what answered until now, left as it is; None at first.
            handle: the table, pinned to its newest version.
            remake: may be called later, from any thread, to put another answerer in place: one
                that was made in the background, or one that replaces a damaged one.

        Returns:
            An answerer of that version; or ``before``, where the new one is not ready yet.
        """

    def close(self) -> None:
        """Let go of what it holds beyond memory."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A mirror in parts, on a cluster.

    Attributes:
        shards: how many.
        ray: address of the cluster, as store.cluster.connection.connect takes it.
        on_lost: ``wait`` for a lost shard until it is rebuilt, or answer without it: ``partial``.
    """

    shards: int
    ray: str = "local"
    on_lost: Literal["wait", "partial"] = "wait"


class Searched(Protocol):
    """What is searched: a Snapshot, or Rows."""

    @property
    def index(self) -> Any:
        """The IndexFlatIP over ``vectors``."""

    @property
    def vectors(self) -> Vectors:
        """float32 (n, d), unit rows."""

    def ranks(self, positions: Integers) -> Integers:
        """Numbers that order rows of equal scores, int64 (m,)."""
