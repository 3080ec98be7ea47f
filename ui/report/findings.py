"""Findings of a report: evaluations, drawn examples, and the queries that fail.

Everything is a function of the gallery and of ``SEED``; nothing is picked by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from store import NO_FINDING, NOTHING_FOUND, BadQuery, Groups, Where, names_nothing
from store import findings as findings_among

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Evaluation, Gallery, Hit, Row

#: Seed of every random choice in an export.
SEED = 0
#: Hits per query, in figures and in what counts as hard.
DEPTH = 10
#: Hardest queries shown per label.
HARDEST = 4
#: Labels that get figures of their own, the most frequent ones.
MOST_LABELS = 6
#: Hits asked for at once.
_HITS = 4096
_GROUPING = ("dataset", "patient", "study")
#: Queries per label searched for failures; a larger set is sampled.
MOST_QUERIES = 2000


@dataclass(frozen=True, slots=True)
class Setting:
    """Setting of a report: rows that are queries, rows that are searched.

    Attributes:
        name: for captions, e.g. ``test queries, train gallery``.
        queries: ids of the labelled rows that ask.
        where: what is searched; the query itself is always left out, and so are films of its
            patient and those that are not labelled, as in the evaluation.
        split: of the queries, for ``Gallery.evaluate``; None for all rows.
        protocols: those with queries, to how many rows each query can find.
        group: of each row its patient, or its study where only that is known; None for neither.
    """

    name: str
    queries: tuple[str, ...]
    where: Where | None
    split: str | None
    protocols: Mapping[str, int]
    group: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A stored row as a query, and its hits, best first."""

    query: Row
    hits: Sequence[Hit]

    @property
    def right(self) -> int:
        """Number of hits that share a finding with the query, or have none like it."""
        return sum(_alike(self.query, hit) for hit in self.hits)

    @property
    def nearest_is_wrong(self) -> bool:
        """Whether it is known what was found in the first hit, and it is not the query's."""
        known = bool(self.hits) and bool(self.hits[0].row.named_findings)
        return known and not _alike(self.query, self.hits[0])


def _alike(query: Row, hit: Hit) -> bool:
    return not set(query.named_findings).isdisjoint(hit.row.named_findings)


@dataclass(frozen=True, slots=True, eq=False)
class LabelFindings:
    """Findings about the queries of one label.

    Attributes:
        label: its name.
        queries: how many were searched.
        of: how many there are; more than ``queries`` when they were sampled.
        wrong: how many have a wrong nearest neighbour.
        right_example, wrong_example: drawn at random; None when there is none.
        hardest: fewest right hits first, then the most similar wrong neighbour.
    """

    label: str
    queries: int
    of: int
    wrong: int
    right_example: Found | None
    wrong_example: Found | None
    hardest: tuple[Found, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Prompted:
    """A sentence, the label it should find (empty when unknown), and its hits."""

    text: str
    wanted: tuple[str, ...]
    hits: Sequence[Hit]

    @property
    def right(self) -> int:
        """Number of hits that carry the wanted label."""
        return sum(not set(self.wanted).isdisjoint(hit.row.named_findings) for hit in self.hits)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Counts of rows whose source is the same to the byte.

    Attributes:
        extra: copies beyond the first.
        across: groups of equal rows that reach over several splits.
        conflicting: groups of equal rows that carry different labels.
    """

    extra: int
    across: int
    conflicting: int


def setting_of(rows: Mapping[str, Row]) -> Setting:
    """The strictest setting for a gallery: across splits where there are some."""
    labelled = [row for row in rows.values() if row.named_findings]
    groups = Groups.of(*([getattr(row, name) for row in rows.values()] for name in _GROUPING))
    group = dict(zip(rows, groups.names, strict=True))
    own = "itself" if groups.kind == "film" else f"films of its own {groups.kind}"
    tests = tuple(row.id for row in labelled if row.split == "test")
    training = sum(row.split == "train" for row in labelled)
    if not tests:
        everyone = tuple(row.id for row in labelled)
        protocols = {"leave-one-out": max(0, len(everyone) - 1)}
        return Setting(
            f"every labelled row, {own} excluded", everyone, None, None, protocols, group
        )
    protocols = {"leave-one-out": len(tests) - 1}
    if not training:
        name = f"test queries, test gallery, {own} excluded"
        return Setting(name, tests, Where(split=("test",)), "test", protocols, group)
    protocols["split"] = training
    name = "test queries, train gallery"
    if groups.kind != "film":
        name += f", {own} excluded"
    return Setting(name, tests, Where(split=("train",)), "test", protocols, group)


def measure(gallery: Gallery, setting: Setting, protocol: str, k: Sequence[int]) -> Evaluation:
    """Evaluation by one of the setting's protocols, with raw pixels beside it."""
    from ingest import BASELINES

    return gallery.evaluate(protocol, k, split=setting.split, baselines=BASELINES)


def labels_to_show(rows: Mapping[str, Row], setting: Setting) -> list[str]:
    """Most frequent labels among the queries, in alphabetical order."""
    counts = Counter(name for id_ in setting.queries for name in rows[id_].named_findings)
    return sorted(sorted(counts, key=lambda name: (-counts[name], name))[:MOST_LABELS])


def findings(gallery: Gallery, rows: Mapping[str, Row], setting: Setting) -> list[LabelFindings]:
    """Findings of each label: its queries are searched, examples and failures picked by rule.

    Args:
        gallery: where to search.
        rows: its rows by id, without vectors.
        setting: who asks whom.

    Returns:
        One entry per label of `labels_to_show`; a label whose queries find nothing is left out.
    """
    results = []
    for label in labels_to_show(rows, setting):
        pool = sorted(id_ for id_ in setting.queries if label in rows[id_].named_findings)
        random = np.random.default_rng([SEED, *label.encode()])
        asked = pool
        if len(pool) > MOST_QUERIES:
            asked = sorted(random.choice(pool, MOST_QUERIES, replace=False).tolist())
        found = [
            Found(rows[id_], hits)
            for id_, hits in zip(asked, _candidates(gallery, asked, setting), strict=True)
            if hits
        ]
        if not found:
            continue
        wrong = [one for one in found if one.nearest_is_wrong]
        right = [one for one in found if _alike(one.query, one.hits[0])]
        results.append(
            LabelFindings(
                label=label,
                queries=len(found),
                of=len(pool),
                wrong=len(wrong),
                right_example=right[int(random.integers(len(right)))] if right else None,
                wrong_example=wrong[int(random.integers(len(wrong)))] if wrong else None,
                hardest=tuple(sorted(wrong, key=_hardness)[:HARDEST]),
            )
        )
    return results


def _hardness(one: Found) -> tuple[int, float, str]:
    return one.right, -one.hits[0].score, one.query.id


def _candidates(gallery: Gallery, ids: Sequence[str], setting: Setting) -> list[list[Hit]]:
    """Nearest films of queries among those that their evaluation ranks."""

    def ranked(id_: str, hit: Hit) -> bool:
        own = setting.group[id_]
        apart = own is None or setting.group.get(hit.row.id) != own
        return apart and bool(hit.row.named_findings)

    return neighbours(gallery, ids, setting.where, passes=ranked)


def neighbours(
    gallery: Gallery,
    ids: Sequence[str],
    where: Where | None,
    depth: int = DEPTH,
    passes: Callable[[str, Hit], bool] | None = None,
) -> list[list[Hit]]:
    """Nearest rows of stored rows, each without itself; fewer where fewer pass.

    Args:
        gallery: what is searched.
        ids: of the rows that ask, each once.
        where: what is searched.
        depth: hits of each.
        passes: whether a hit may be one of this row's.
    """
    results: dict[str, list[Hit]] = {}
    asking, count = list(ids), depth + 1
    while asking:
        count = min(count, len(gallery))
        step = max(1, _HITS // count)
        short: list[str] = []
        for start in range(0, len(asking), step):
            block = asking[start : start + step]
            answers = gallery.search(gallery.vectors(block), count, where)
            for id_, hits in zip(block, answers, strict=True):
                others = [
                    hit
                    for hit in hits
                    if hit.row.id != id_ and (passes is None or passes(id_, hit))
                ][:depth]
                if len(others) < depth and len(hits) == count < len(gallery):
                    short.append(id_)
                else:
                    results[id_] = [replace(hit, rank=at) for at, hit in enumerate(others, 1)]
        asking, count = short, 4 * count
    return [results[id_] for id_ in ids]


def prompted(
    gallery: Gallery,
    encoder: Encoder,
    prompts: Mapping[str, str | None],
    setting: Setting,
    depth: int = DEPTH,
) -> list[Prompted]:
    """Hits of sentences, among the test rows where there are some.

    Args:
        gallery: where to search.
        encoder: made its vectors; must understand text.
        prompts: sentence to the label it should find, or None. A label that the gallery does not
            have (whatever its case) is not wanted.
        setting: its split is searched.
        depth: hits per sentence.
    """
    facets = gallery.facets()
    known = {name.casefold(): (name,) for name in findings_among([*facets["labels"]])}
    if NOTHING_FOUND in facets.get("outcome", {}):
        known[NO_FINDING.casefold()] = (NO_FINDING,)
    where = Where(split=(setting.split,)) if setting.split else None
    vectors = encoder.encode_texts([*prompts])
    answers = gallery.search(vectors, min(depth, len(gallery)), where)
    return [
        Prompted(text, known.get(_key(wanted or ""), ()), hits)
        for (text, wanted), hits in zip(prompts.items(), answers, strict=True)
    ]


def _key(label: str) -> str:
    return (NO_FINDING if names_nothing(label) else label).casefold()


def duplicates(rows: Mapping[str, Row]) -> Duplicates:
    """Counts of rows with equal sources, by their SHA-256."""
    groups: dict[bytes, list[Row]] = {}
    for row in rows.values():
        groups.setdefault(row.sha256, []).append(row)
    several = [group for group in groups.values() if len(group) > 1]
    named = [{frozenset(row.named_findings) for row in group} for group in several]
    return Duplicates(
        extra=sum(len(group) - 1 for group in several),
        across=sum(len({row.split for row in group}) > 1 for group in several),
        conflicting=sum(len(found) > 1 for found in named),
    )


def check_depths(k: Sequence[int]) -> tuple[int, ...]:
    """Depths sorted, each once. BadQuery when there are none, or one is below 1."""
    depths = tuple(sorted(set(k)))
    if not depths or depths[0] < 1:
        raise BadQuery(f"k = {list(k)}: expected depths of at least 1, e.g. 1, 3, 5, 10")
    return depths


def slugs(names: Sequence[str]) -> dict[str, str]:
    """Parts of file names for names: lower case, letters and digits, each one different."""
    found: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")[:60] or "other"
        taken, number = set(found.values()), 2
        while slug in taken:
            slug, number = f"{re.sub(r'_[0-9]+$', '', slug)}_{number}", number + 1
        found[name] = slug
    return found
