"""Evaluation protocols, leave-one-out and split: which rows of a gallery query which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from store.errors import BadQuery
from store.evaluation.labelled import Groups, Labelled, SamePatient
from store.evaluation.metrics import Evaluation, evaluate
from store.evaluation.ranking import by_searches
from store.evaluation.relevance import Rule
from store.mirror.snapshot import Snapshot
from store.outcomes import LEFT_OUT, findings
from store.schema import Baseline, Integers, Progress
from store.search.base import Searcher
from store.table import lance, rows
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
            same_patient=same_patient,
            relevance=rule,
        )
    found = evaluate(
        protocol,
        queries,
        gallery,
        k,
        full_ranking=full_ranking,
        progress=progress,
        same_patient=same_patient,
        relevance=rule,
    )
    measured = {}
    for name, represent in baselines.items():
        floor = represented(now, queries, represent)
        other = floor if queries is gallery else represented(now, gallery, represent)
        if floor is not None and other is not None:
            measured[name] = evaluate(
                protocol,
                floor,
                other,
                k,
                resamples=0,
                full_ranking=full_ranking,
                same_patient=same_patient,
                relevance=rule,
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
    part = taking_part(snapshot.metadata, everyone, rule)
    kept = part.places
    groups = _groups(snapshot.metadata.select(_grouping(snapshot.handle)).take(pa.array(kept)))
    return Labelled(
        [snapshot.ids[i] for i in kept],
        snapshot.vectors if kept.size == snapshot.count else snapshot.vectors[kept],
        part.findings,
        snapshot,
        kept,
        groups.names,
        groups.kind,
        part.left_out,
    )


def _scanned(now: Searcher, where: Where, rule: Rule) -> Labelled:
    condition = where.to_filter(now.handle.schema) if where else None
    columns = [*rows.findings_columns(now.handle.schema), *_grouping(now.handle)]
    films = lance.scan(now.handle, ["id", *columns], condition)
    part = taking_part(films, np.arange(len(films)), rule)
    films = films.take(pa.array(part.places))
    groups = _groups(films)
    return Labelled(
        films["id"].to_pylist(),
        np.empty((len(films), 0), np.float32),
        part.findings,
        groups=groups.names,
        group_kind=groups.kind,
        left_out=part.left_out,
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


class Part(NamedTuple):
    """Films that take part in an evaluation: their places and findings; the others by reason."""

    places: Integers
    findings: list[tuple[str, ...]]
    left_out: dict[str, int]


def taking_part(films: pa.Table, places: Integers, rule: Rule) -> Part:
    """Films of a table, at some places, that take part.

    Left out are films that nobody looked at, those with uncertain findings alone, and those in
    which the one finding that is compared is uncertain.
    """
    said = rows.findings_of(
        films.select(rows.findings_columns(films.schema)).take(pa.array(places))
    )
    outcomes = said["outcome"].to_pylist()
    cells = zip(said["labels"].to_pylist(), said["uncertain"].to_pylist(), outcomes, strict=True)
    kept, found = [], []
    left_out: Counter[str] = Counter()
    for place, (labels, uncertain, outcome) in enumerate(cells):
        present = findings(labels)
        if rule.finding in uncertain and rule.finding not in present:
            left_out[f"uncertain: {rule.finding}"] += 1
        elif outcome in LEFT_OUT:
            left_out[LEFT_OUT[outcome]] += 1
        else:
            kept.append(place)
            found.append(present)
    return Part(places[kept] if kept else places[:0], found, dict(left_out))


def represented(snapshot: Snapshot, films: Labelled, represent: Baseline) -> Labelled | None:
    """The same films under a baseline; None where films have no pictures (imported vectors)."""
    row_ids = snapshot.row_ids_of(films.ids)
    pictures = [found for found in lance.thumbnails(snapshot.handle, row_ids) if found]
    if len(pictures) < len(films.ids):
        return None
    return Labelled(
        films.ids,
        represent(pictures),
        films.labels,
        groups=films.groups,
        group_kind=films.group_kind,
    )
