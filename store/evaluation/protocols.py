"""Evaluation protocols, leave-one-out and split: which rows of a gallery query which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from store.errors import BadQuery
from store.evaluation.labelled import Labelled
from store.evaluation.metrics import Evaluation, evaluate
from store.evaluation.ranking import by_searches
from store.evaluation.relevance import Rule
from store.mirror.snapshot import Snapshot
from store.outcomes import NOT_LABELLED, UNCERTAIN, findings, outcome
from store.schema import FINDINGS, Baseline, Integers, Progress
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
    relevance: str | Rule = "any",
) -> Evaluation:
    """Gallery.evaluate over one version; see there for arguments and errors."""
    rule = Rule.of(relevance)
    queries, gallery = sides(now, protocol, split, gallery_split, dataset, rule)
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
            relevance=rule,
        )
    found = evaluate(
        protocol, queries, gallery, k, full_ranking=full_ranking, progress=progress, relevance=rule
    )
    measured = {}
    for name, represent in baselines.items():
        floor = _represented(now, queries, represent)
        other = floor if queries is gallery else _represented(now, gallery, represent)
        if floor is not None and other is not None:
            measured[name] = evaluate(protocol, floor, other, k, 0, full_ranking, relevance=rule)
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
    relevance: str | Rule = "any",
) -> tuple[Labelled, Labelled]:
    """The labelled rows of both filters; one object when they are the same rows.

    Rows that take no part under the rule of relevance are counted in ``Labelled.left_out``.

    Raises:
        BadQuery: as filters_of, or no labelled rows.
    """
    asking, searched = filters_of(protocol, split, gallery_split, dataset)
    rule = Rule.of(relevance)
    queries = _labelled(now, asking, rule)
    return queries, queries if searched == asking else _labelled(now, searched, rule)


def _labelled(now: Searcher | Snapshot, where: Where, rule: Rule) -> Labelled:
    """The labelled rows that pass; without vectors where these are not in memory."""
    if isinstance(now, Snapshot):
        found = _in_memory(now, where, rule)
    else:
        found = _scanned(now, where, rule)
    if not found.ids:
        splits = sorted(now.facets(None)["split"])
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
        raise BadQuery(
            f"no labelled rows where {where or 'anything goes'}"
            f"{f' (left out: {reasons})' if reasons else ''}; "
            f"splits in this gallery: {', '.join(splits) or 'none'}"
        )
    return found


def _in_memory(snapshot: Snapshot, where: Where, rule: Rule) -> Labelled:
    allowed = snapshot.positions_of(where)
    everyone = np.arange(snapshot.count) if allowed is None else allowed
    rows = snapshot.metadata if allowed is None else snapshot.metadata.take(pa.array(allowed))
    chosen, labels, left_out = _taking_part(rows, rule)
    kept = everyone[chosen]
    return Labelled(
        [snapshot.ids[i] for i in kept],
        snapshot.vectors if kept.size == snapshot.count else snapshot.vectors[kept],
        labels,
        snapshot,
        kept,
        left_out=left_out,
    )


def _scanned(now: Searcher, where: Where, rule: Rule) -> Labelled:
    condition = where.to_filter(now.handle.schema) if where else None
    columns = [name for name in _OUTCOME if name in now.handle.schema.names]
    rows = lance.scan(now.handle, ["id", *columns], condition)
    chosen, labels, left_out = _taking_part(rows, rule)
    ids = rows["id"].to_pylist()
    nothing = np.empty((len(chosen), 0), np.float32)
    return Labelled([ids[i] for i in chosen], nothing, labels, left_out=left_out)


#: Columns that say what was found in a film; a table of an older version lacks some.
_OUTCOME = (*FINDINGS, "labelled")


def _taking_part(
    rows: pa.Table, rule: Rule
) -> tuple[Integers, list[tuple[str, ...]], dict[str, int]]:
    """Which rows take part in an evaluation, their findings, and the others by reason.

    Left out are films that nobody looked at, those with uncertain findings alone, and those in
    which the one finding that is compared is uncertain.
    """
    cells = {
        name: rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
        for name in _OUTCOME
    }
    chosen, found = [], []
    left_out: Counter[str] = Counter()
    for place, (labels, uncertain, absent, looked) in enumerate(zip(*cells.values(), strict=True)):
        said = outcome(labels or (), bool(looked or absent), uncertain or ())
        present = findings(labels or ())
        if rule.finding in (uncertain or ()) and rule.finding not in present:
            left_out[f"uncertain: {rule.finding}"] += 1
        elif said == NOT_LABELLED:
            left_out[said] += 1
        elif said == UNCERTAIN:
            left_out["only uncertain findings"] += 1
        else:
            chosen.append(place)
            found.append(present)
    return np.asarray(chosen, np.int64), found, dict(left_out)


def _represented(snapshot: Snapshot, rows: Labelled, represent: Baseline) -> Labelled | None:
    """The same rows under a baseline; None where rows have no pictures (imported vectors)."""
    row_ids = snapshot.row_ids_of(rows.ids)
    pictures = [found for found in lance.thumbnails(snapshot.handle, row_ids) if found]
    if len(pictures) < len(rows.ids):
        return None
    return Labelled(
        rows.ids,
        represent(pictures),
        rows.labels,
        groups=rows.groups,
        group_kind=rows.group_kind,
    )
