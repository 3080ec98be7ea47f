"""Doubt of labels: labelled films by how much their neighbours disagree with their findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from store.analysis.film_table import KNOWN, groups_of, read
from store.analysis.label_noise import Doubts, doubts
from store.errors import BadQuery
from store.evaluation.labelled import GroupKind
from store.mirror.snapshot import Snapshot
from store.outcomes import Outcome, findings
from store.schema import Integers, Progress

if TYPE_CHECKING:
    from store.gallery import Gallery

#: Neighbours asked per film where nobody says.
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Films whose labels can be compared with those of their neighbours.

    Attributes:
        outcomes: of all films, by id.
        chosen: int64 (n,), places of those whose findings are known.
        carried, unsure: the findings of each of them.
        groups: int64 (n,): films of one number are not each other's neighbours.
        excluded: what the numbers are of.
    """

    outcomes: list[Outcome]
    chosen: Integers
    carried: list[tuple[str, ...]]
    unsure: list[tuple[str, ...]]
    groups: Integers
    excluded: GroupKind

    def doubts(self, now: Snapshot, k: int, progress: Progress | None) -> Doubts:
        """Doubts of these films, in the order of ``chosen``."""
        return doubts(
            now.vectors[now.by_id[self.chosen]],
            self.carried,
            k,
            progress,
            uncertain=self.unsure,
            groups=self.groups,
        )


def compared(films: pa.Table) -> Compared:
    """The films of a table from ``film_table.read`` whose labels can be compared.

    Raises:
        BadQuery: fewer than two labelled films.
    """
    outcomes = films["outcome"].to_pylist()
    chosen = np.asarray([at for at, one in enumerate(outcomes) if one in KNOWN], np.int64)
    if len(chosen) < 2:
        some = "1 labelled film" if len(chosen) else "no labelled film"
        raise BadQuery(f"{some}: labels can be compared from two on")
    taken = films.take(pa.array(chosen))
    groups, excluded = groups_of(taken)
    return Compared(
        outcomes,
        chosen,
        [findings(row) for row in taken["labels"].to_pylist()],
        [tuple(row) for row in taken["uncertain"].to_pylist()],
        groups,
        excluded,
    )


def doubt_of_labels(
    gallery: Gallery, k: int = NEIGHBOURS, progress: Progress | None = None
) -> pa.Table:
    """Every labelled film with the doubt of its labels; see store.analysis.label_noise.

    All labelled films are compared with each other: time grows with the square of their number.

    Args:
        gallery: with two labelled films or more; k is lowered to what there is.
        k: neighbours asked per film.
        progress: called with films done and in all.

    Returns:
        One row a film, by id: ``id``; ``doubt``, the disagreement of its neighbours, 0 to 1;
        ``said``, what most of them carry; ``votes``, how many of them; ``asked``, of how many.

    Raises:
        BadQuery: fewer than two labelled films; vectors are not in memory.
    """

    def ask(now: Snapshot) -> pa.Table:
        films = read(now)
        of = compared(films)
        found = of.doubts(now, min(k, len(of.chosen) - 1), progress)
        return pa.table(
            {
                "id": films["id"].take(pa.array(of.chosen)),
                "doubt": found.disagreement,
                "said": found.said,
                "votes": found.votes,
                "asked": found.asked,
            }
        )

    return gallery.read_mirror("the doubt of labels", ask)
