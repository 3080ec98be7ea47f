"""Which rows of a gallery query which: the two evaluation protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from store.errors import BadQuery
from store.evaluation.metrics import Evaluation, evaluate
from store.evaluation.ranking import Labelled
from store.mirror.snapshot import Snapshot
from store.schema import Baseline
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
