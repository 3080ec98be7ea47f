"""Evaluation protocols, leave-one-out and split: which rows of a gallery query which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BadQuery
from store.evaluation.labelled import Groups, Labelled, SamePatient
from store.evaluation.metrics import Evaluation, evaluate
from store.evaluation.ranking import by_searches
from store.mirror.snapshot import Snapshot
from store.schema import Baseline, Progress
from store.search.base import Searcher
from store.table import lance
from store.table.filters import Where

LEAVE_ONE_OUT = "leave-one-out"
SPLIT = "split"


def evaluate_version(
    now: Searcher,
    protocol: str,
    k: Sequence[int],
    split: str | None,
    gallery_split: str,
    dataset: str | None,
    baselines: Mapping[str, Baseline],
    full_ranking: bool = True,
    progress: Progress | None = None,
    same_patient: SamePatient = "exclude",
) -> Evaluation:
    """Gallery.evaluate over one version; see there for arguments and errors."""
    queries, gallery = sides(now, protocol, split, gallery_split, dataset)
    if not isinstance(now, Snapshot):
        _, searched = filters_of(protocol, split, gallery_split, dataset)
        rank = by_searches(now, searched)
        return evaluate(
            protocol,
            queries,
            gallery,
            k,
            full_ranking=False,
            progress=progress,
            rank=rank,
            same_patient=same_patient,
        )
    found = evaluate(
        protocol,
        queries,
        gallery,
        k,
        full_ranking=full_ranking,
        progress=progress,
        same_patient=same_patient,
    )
    measured = {}
    for name, represent in baselines.items():
        floor = _represented(now, queries, represent)
        other = floor if queries is gallery else _represented(now, gallery, represent)
        if floor is not None and other is not None:
            measured[name] = evaluate(
                protocol,
                floor,
                other,
                k,
                resamples=0,
                full_ranking=full_ranking,
                same_patient=same_patient,
            )
    return found.beside(measured)


def filters_of(
    protocol: str, split: str | None, gallery_split: str, dataset: str | None = None
) -> tuple[Where, Where]:
    """The filters of the queries and of the gallery; equal in leave-one-out.

    Raises:
        BadQuery: an unknown protocol, or one split where two are needed.
    """
    datasets = () if dataset is None else (dataset,)
    asking = Where(split=() if split is None else (split,), dataset=datasets)
    if protocol == LEAVE_ONE_OUT:
        return asking, asking
    if protocol != SPLIT:
        raise BadQuery(f"protocol {protocol!r}: expected {LEAVE_ONE_OUT} or {SPLIT}")
    if split is None or split == gallery_split:
        raise BadQuery(
            f"the split protocol needs two splits, got {split!r} and {gallery_split!r}; "
            "use leave-one-out for one"
        )
    return asking, Where(split=(gallery_split,), dataset=datasets)


def sides(
    now: Searcher | Snapshot,
    protocol: str,
    split: str | None,
    gallery_split: str,
    dataset: str | None = None,
) -> tuple[Labelled, Labelled]:
    """The labelled rows of both filters; one object when they are the same rows.

    Raises:
        BadQuery: as filters_of, or no labelled rows.
    """
    asking, searched = filters_of(protocol, split, gallery_split, dataset)
    queries = _labelled(now, asking)
    return queries, queries if searched == asking else _labelled(now, searched)


def _labelled(now: Searcher | Snapshot, where: Where) -> Labelled:
    """The labelled rows that pass; without vectors where these are not in memory."""
    found = _in_memory(now, where) if isinstance(now, Snapshot) else _scanned(now, where)
    if not found.ids:
        splits = sorted(now.facets(None)["split"])
        raise BadQuery(
            f"no labelled rows where {where or 'anything goes'}; "
            f"splits in this gallery: {', '.join(splits) or 'none'}"
        )
    return found


def _in_memory(snapshot: Snapshot, where: Where) -> Labelled:
    labels = snapshot.metadata["labels"].to_pylist()
    allowed = snapshot.positions_of(where)
    everyone = range(len(labels)) if allowed is None else allowed.tolist()
    kept = np.asarray([position for position in everyone if labels[position]], np.int64)
    groups = _groups(snapshot.metadata.select(_grouping(snapshot.handle)).take(kept))
    return Labelled(
        [snapshot.ids[i] for i in kept],
        snapshot.vectors if kept.size == snapshot.count else snapshot.vectors[kept],
        [tuple(labels[i]) for i in kept],
        snapshot,
        kept,
        groups.names,
        groups.kind,
    )


def _scanned(now: Searcher, where: Where) -> Labelled:
    condition = where.to_filter(now.handle.schema) if where else None
    found = lance.scan(now.handle, ["id", "labels", *_grouping(now.handle)], condition)
    found = found.filter(pc.greater(pc.list_value_length(found["labels"]), 0))
    groups = _groups(found)
    return Labelled(
        found["id"].to_pylist(),
        np.empty((len(found), 0), np.float32),
        [tuple(labels) for labels in found["labels"].to_pylist()],
        groups=groups.names,
        group_kind=groups.kind,
    )


def _grouping(handle: Any) -> list[str]:
    """The columns of a table that say which films belong together."""
    return [name for name in ("dataset", "patient", "study") if name in handle.schema.names]


def _groups(films: pa.Table) -> Groups:
    nothing = [None] * len(films)
    return Groups.of(
        *(
            films[name].to_pylist() if name in films.column_names else nothing
            for name in ("dataset", "patient", "study")
        )
    )


def _represented(snapshot: Snapshot, rows: Labelled, represent: Baseline) -> Labelled | None:
    """The same rows under a baseline; None where rows have no pictures (imported vectors)."""
    row_ids = snapshot.row_ids_of(rows.ids)
    pictures = [found for found in lance.thumbnails(snapshot.handle, row_ids) if found]
    if len(pictures) < len(rows.ids):
        return None
    return Labelled(
        rows.ids, represent(pictures), rows.labels, None, None, rows.groups, rows.group_kind
    )
