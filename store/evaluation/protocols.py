"""Which rows of a gallery query which: the two evaluation protocols.

The same protocols and measures as store.evaluation.protocols, from the hits that searches return.
There is no mean average precision, which takes a ranking of the whole gallery, and no baseline but
chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from store.errors import BadQuery
from store.evaluation.metrics import Evaluation, evaluate, refuse_certain, summarise
from store.evaluation.ranking import Labelled, by_answers, depths_of, measure, own_rows
from store.mirror.snapshot import Snapshot
from store.schema import Baseline
from store.search.base import Answerer
from store.table import lance
from store.table.filters import Where

LEAVE_ONE_OUT = "leave-one-out"
SPLIT = "split"


def evaluate_snapshot(
    snapshot: Snapshot,
    protocol: str,
    k: Sequence[int],
    split: str | None,
    gallery_split: str,
    dataset: str | None,
    baselines: Mapping[str, Baseline],
    full_ranking: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Gallery.evaluate over one snapshot; see there."""
    queries, gallery = sides(snapshot, protocol, split, gallery_split, dataset)
    found = evaluate(protocol, queries, gallery, k, full_ranking=full_ranking, progress=progress)
    measured = {}
    for name, represent in baselines.items():
        floor = _represented(snapshot, queries, represent)
        other = floor if queries is gallery else _represented(snapshot, gallery, represent)
        if floor is not None and other is not None:
            measured[name] = evaluate(
                protocol, floor, other, k, resamples=0, full_ranking=full_ranking
            )
    return found.beside(measured)


def sides(
    snapshot: Snapshot,
    protocol: str,
    split: str | None,
    gallery_split: str,
    dataset: str | None = None,
) -> tuple[Labelled, Labelled]:
    """The rows that ask and the rows that are searched; one object when they are the same rows.

    Raises:
        BadQuery: an unknown protocol, one split where two are needed, or no labelled rows.
    """
    if protocol == LEAVE_ONE_OUT:
        rows = _labelled(snapshot, split, dataset)
        return rows, rows
    if protocol == SPLIT:
        if split is None or split == gallery_split:
            raise BadQuery(
                f"the split protocol needs two splits, got {split!r} and {gallery_split!r}; "
                "use leave-one-out for one"
            )
        queries = _labelled(snapshot, split, dataset)
        return queries, _labelled(snapshot, gallery_split, dataset)
    raise BadQuery(f"protocol {protocol!r}: expected {LEAVE_ONE_OUT} or {SPLIT}")


def _labelled(snapshot: Snapshot, split: str | None, dataset: str | None) -> Labelled:
    where = Where(
        split=() if split is None else (split,), dataset=() if dataset is None else (dataset,)
    )
    labels = snapshot.metadata["labels"].to_pylist()
    allowed = snapshot.positions_of(where)
    everyone = range(len(labels)) if allowed is None else allowed.tolist()
    kept = np.asarray([position for position in everyone if labels[position]], np.int64)
    if kept.size == 0:
        splits = sorted({name for name in snapshot.metadata["split"].to_pylist() if name})
        raise BadQuery(
            f"no labelled rows where {where or 'anything goes'}; "
            f"splits in this gallery: {', '.join(splits) or 'none'}"
        )
    return Labelled(
        [snapshot.ids[i] for i in kept],
        snapshot.vectors if kept.size == snapshot.count else snapshot.vectors[kept],
        [tuple(labels[i]) for i in kept],
        snapshot,
        kept,
    )


def _represented(snapshot: Snapshot, rows: Labelled, represent: Baseline) -> Labelled | None:
    """The same rows under a baseline; None where rows have no pictures (imported vectors)."""
    row_ids = snapshot.row_ids_of(rows.ids)
    pictures = [found for found in lance.thumbnails(snapshot.handle, row_ids) if found]
    if len(pictures) < len(rows.ids):
        return None
    return Labelled(rows.ids, represent(pictures), rows.labels)


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
    queries = _labelled_by_asking(now, asking)
    gallery = queries if protocol == LEAVE_ONE_OUT else _labelled_by_asking(now, searched)
    own = own_rows(queries, gallery)
    depths = depths_of(k, own, len(gallery.ids))
    refuse_certain(queries.labels, gallery.labels)
    rankings = by_answers(now, queries, gallery, searched, depths[-1])
    measured = measure(queries, gallery, own, depths, rankings)
    return summarise(protocol, queries, gallery, depths, measured, None)


def _labelled_by_asking(now: Answerer, where: Where) -> Labelled:
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
