"""Evaluation by asking: for answerers that do not have all vectors in memory.

The same protocols and measures as store.protocols, from the hits that searches return. There is no
mean average precision, which takes a ranking of the whole gallery, and no baseline but chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store import table
from store.answering import Answerer
from store.errors import BadQuery
from store.evaluation import (
    _RESAMPLES,
    Evaluation,
    Labelled,
    _ByQuery,
    _summarise,
    refuse_certain,
)
from store.filters import Where
from store.measures import majority
from store.protocols import LEAVE_ONE_OUT, SPLIT
from store.schema import Vectors

#: Queries whose vectors are read at once.
_BLOCK = 256
Findings = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    ids: list[str]
    labels: list[Findings]


def evaluate_by_search(
    now: Answerer,
    protocol: str,
    k: Sequence[int],
    split: str | None,
    gallery_split: str,
    dataset: str | None,
) -> Evaluation:
    """Gallery.evaluate over an answerer's searches; see there."""
    datasets = () if dataset is None else (dataset,)
    asking = Where(split=() if split is None else (split,), dataset=datasets)
    if protocol == LEAVE_ONE_OUT:
        searched = asking
    elif protocol == SPLIT:
        if split is None or split == gallery_split:
            raise BadQuery(
                f"the split protocol needs two splits, got {split!r} and {gallery_split!r}; "
                "use leave-one-out for one"
            )
        searched = Where(split=(gallery_split,), dataset=datasets)
    else:
        raise BadQuery(f"protocol {protocol!r}: expected {LEAVE_ONE_OUT} or {SPLIT}")
    queries, inside = _labelled(now, asking), protocol == LEAVE_ONE_OUT
    gallery = queries if inside else _labelled(now, searched)
    depths = sorted(set(k))
    most = len(gallery.ids) - inside
    if not depths or depths[0] < 1 or depths[-1] > most:
        raise BadQuery(f"k = {list(k)}: expected depths from 1 to {most}, the rows to be found")
    refuse_certain(queries.labels, gallery.labels)
    by_query = _asked(now, queries, gallery, searched, depths, inside)
    nothing = np.empty((len(gallery.ids), 0), np.float32)
    return _summarise(
        protocol,
        Labelled(queries.ids, np.empty((len(queries.ids), 0), np.float32), queries.labels),
        Labelled(gallery.ids, nothing, gallery.labels),
        depths,
        by_query,
        _RESAMPLES,
    )


def _asked(
    now: Answerer, queries: _Side, gallery: _Side, searched: Where, depths: list[int], inside: bool
) -> _ByQuery:
    kinds = Counter(gallery.labels)
    names = sorted({name for side in (queries, gallery) for row in side.labels for name in row})
    place = {name: number for number, name in enumerate(names)}
    single = all(len(row) == 1 for side in (queries, gallery) for row in side.labels)
    n, at = len(queries.ids), np.asarray(depths) - 1
    precision, hit = np.empty((n, len(depths))), np.empty((n, len(depths)))
    vote = np.empty((n, len(depths))) if single else None
    chance = np.empty(n)
    for row, (id_, labels) in enumerate(zip(queries.ids, queries.labels, strict=True)):
        if row % _BLOCK == 0:
            vectors = now.vectors_of(queries.ids[row : row + _BLOCK])
        found = _nearest(now, id_, vectors[row % _BLOCK], depths[-1], searched)
        hits = np.cumsum([bool(set(labels) & set(one)) for one in found])
        precision[row] = hits[at] / np.asarray(depths)
        hit[row] = hits[at] > 0
        total = sum(size for kind, size in kinds.items() if set(kind) & set(labels)) - inside
        chance[row] = total / (len(gallery.ids) - inside)
        if vote is not None:
            classes = np.asarray([[place[one[0]] for one in found]])
            for column, depth in enumerate(depths):
                said = majority(classes[:, :depth], len(names))
                vote[row, column] = said[0] == place[labels[0]]
    return _ByQuery(precision, hit, vote, np.full(n, np.nan), chance, ranked=False)


def _nearest(
    now: Answerer, id_: str, vector: Vectors, depth: int, searched: Where
) -> list[Findings]:
    """Labels of the nearest labelled rows, itself left out."""
    count = depth
    while True:
        hits = now.search(vector[None], min(count, now.count), searched or None, [id_])[0]
        found = [hit.row.labels for hit in hits if hit.row.labels]
        if len(found) >= depth or count >= now.count:
            break
        count *= 4
    if len(found) < depth:
        raise BadQuery(
            f"the index proposes {len(found)} labelled rows for {id_!r}, {depth} are needed; "
            "evaluate with --index exact"
        )
    return found[:depth]


def _labelled(now: Answerer, where: Where) -> _Side:
    condition = where.to_filter(now.handle.schema) if where else None
    found = table.scan(now.handle, ["id", "labels"], condition)
    pairs = sorted(
        (id_, tuple(labels))
        for id_, labels in zip(found["id"].to_pylist(), found["labels"].to_pylist(), strict=True)
        if labels
    )
    if not pairs:
        raise BadQuery(f"no labelled rows where {where or 'anything goes'}")
    return _Side([id_ for id_, _ in pairs], [labels for _, labels in pairs])
