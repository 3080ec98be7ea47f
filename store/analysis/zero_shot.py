"""Zero-shot classification: cosines of films with a sentence for each label, and how right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.gallery import Gallery
from store.outcomes import NOT_LABELLED, NOTHING_FOUND, names_nothing, outcome
from store.schema import Floats, Row, Vectors
from store.search import exact
from store.table.filters import Where

#: Films whose vectors are compared at once.
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of one label, over the films that say whether they carry it.

    Attributes:
        films: that carry it.
        others: that are labelled and do not.
        precision_at_1: of the films that carry it, the share whose nearest sentence is that of a
            label of theirs; None without such films, or with one sentence alone.
        auroc: chance that a film that carries it is nearer to its sentence than one that does not,
            equal ones counting half; None where either kind is missing.
    """

    films: int
    others: int
    precision_at_1: float | None
    auroc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Similarities:
    """Cosines of films with one sentence for each label.

    Attributes:
        rows: the films, by id, without vectors.
        names: of the labels.
        cosines: float32 (films, labels).
        nearest: int64 (films,), place of the nearest sentence; the first of equal ones.
        by_label: figures by name.
        judged: films that carry at least one of the labels.
        precision_at_1: of these, the share whose nearest sentence is right; None without any.
    """

    rows: list[Row]
    names: tuple[str, ...]
    cosines: Vectors
    nearest: npt.NDArray[np.int64]
    by_label: dict[str, LabelFigures]
    judged: int
    precision_at_1: float | None


def similarities(
    gallery: Gallery, names: Sequence[str], vectors: npt.ArrayLike, where: Where | None = None
) -> Similarities:
    """Compare every film with a sentence for each label.

    A film carries a label when it has it, in whatever letters; one that names no finding
    (``no finding``) when somebody looked and found nothing. Films that are not labelled, and those
    that are uncertain about a label, count for neither side of it.

    Args:
        gallery: with vectors of the encoder of the sentences.
        names: of the labels, each once.
        vectors: float (labels, d), unit rows, those of the sentences in the same order.
        where: only films that pass.

    Raises:
        BadQuery: no labels, or one twice; no films; vectors of another shape.
    """
    queries = exact.check_queries(vectors, gallery.stamp)
    folded = [_fold(name) for name in names]
    if not names or len({*folded}) != len(names) or len(queries) != len(names) or "" in folded:
        raise BadQuery(f"labels {list(names)}: expected names, each once, and a vector for each")
    reader = gallery.pinned()
    ids = reader.ids(where)
    if not ids:
        raise BadQuery(f"no film in {gallery.uri} passes [{where or Where()}]")
    found = reader.rows(ids)
    rows = [found[id_] for id_ in ids]
    parts = [
        reader.vectors(ids[begin : begin + _CHUNK]).astype(np.float64) @ queries.T.astype(float)
        for begin in range(0, len(ids), _CHUNK)
    ]
    cosines = np.clip(np.concatenate(parts), -1, 1).astype(np.float32)
    carried, known = _truth(rows, names)
    nearest = cosines.argmax(axis=1)
    right = carried[np.arange(len(rows)), nearest]
    several = len(names) > 1
    by_label = {
        name: LabelFigures(
            films=int(carried[:, place].sum()),
            others=int((known[:, place] & ~carried[:, place]).sum()),
            precision_at_1=_share(right[carried[:, place]]) if several else None,
            auroc=auroc(cosines[known[:, place], place], carried[known[:, place], place]),
        )
        for place, name in enumerate(names)
    }
    judged = carried.any(axis=1)
    return Similarities(
        rows=rows,
        names=tuple(names),
        cosines=cosines,
        nearest=nearest.astype(np.int64),
        by_label=by_label,
        judged=int(judged.sum()),
        precision_at_1=_share(right[judged]) if several else None,
    )


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Area under the ROC curve, as the Mann-Whitney statistic (Hanley and McNeil, 1982).

    Args:
        scores: float (n,).
        positive: bool (n,).

    Returns:
        In [0, 1]: the share of pairs of a positive and a negative in which the positive has the
        greater score, equal ones counting half. None where either kind is missing.
    """
    values: Floats = np.asarray(scores, np.float64)
    chosen = np.asarray(positive, bool)
    count, others = int(chosen.sum()), int((~chosen).sum())
    if not count or not others:
        return None
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(times) - (times - 1) / 2  # the mean rank of equal scores, from 1
    ranks = float(middle[place][chosen].sum())
    return (ranks - count * (count + 1) / 2) / (count * others)


def _truth(rows: Sequence[Row], names: Sequence[str]) -> tuple[Any, Any]:
    """Whether each film carries each label, and whether it says so: bool (films, labels) both."""
    carried = np.zeros((len(rows), len(names)), bool)
    known = np.zeros_like(carried)
    for at, row in enumerate(rows):
        looked = outcome(row.labels, row.labelled, row.uncertain)
        has, unsure = ({_fold(label) for label in said} for said in (row.labels, row.uncertain))
        for place, name in enumerate(names):
            nothing = names_nothing(name) and looked == NOTHING_FOUND
            carried[at, place] = nothing or _fold(name) in has
            known[at, place] = carried[at, place] or (
                looked != NOT_LABELLED and _fold(name) not in unsure
            )
    return carried, known


def _fold(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _share(found: npt.NDArray[np.bool_]) -> float | None:
    return float(found.mean()) if len(found) else None
