"""Evaluation by asking: for answerers that do not have all vectors in memory.

The same protocols and measures as store.evaluation.protocols, from the hits that searches return. There is no
mean average precision, which takes a ranking of the whole gallery, and no baseline but chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from store.errors import BadQuery
from store.evaluation.metrics import Evaluation, refuse_certain, summarise
from store.evaluation.protocols import LEAVE_ONE_OUT, SPLIT
from store.evaluation.ranking import Labelled, by_answers, depths_of, measure, own_rows
from store.search.base import Answerer
from store.table import lance
from store.table.filters import Where


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
    queries = _labelled(now, asking)
    gallery = queries if protocol == LEAVE_ONE_OUT else _labelled(now, searched)
    own = own_rows(queries, gallery)
    depths = depths_of(k, own, len(gallery.ids))
    refuse_certain(queries.labels, gallery.labels)
    rankings = by_answers(now, queries, gallery, searched, depths[-1])
    measured = measure(queries, gallery, own, depths, rankings)
    return summarise(protocol, queries, gallery, depths, measured, None)


def _labelled(now: Answerer, where: Where) -> Labelled:
    """The labelled rows that pass, in id order, without their vectors."""
    condition = where.to_filter(now.handle.schema) if where else None
    found = lance.scan(now.handle, ["id", "labels"], condition)
    pairs = sorted(
        (id_, tuple(labels))
        for id_, labels in zip(found["id"].to_pylist(), found["labels"].to_pylist(), strict=True)
        if labels
    )
    if not pairs:
        raise BadQuery(f"no labelled rows where {where or 'anything goes'}")
    nothing = np.empty((len(pairs), 0), np.float32)
    return Labelled([id_ for id_, _ in pairs], nothing, [labels for _, labels in pairs])
