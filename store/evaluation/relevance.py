"""Relevance of the films of a gallery to queries, from the findings of both.

A rule says which films are relevant to a query, or how much: ``Rule``. ``Relevance`` applies it
to the two sides of an evaluation. Films with the same findings are one kind: what is worked out, is
worked out for pairs of kinds, and memory is bounded by a block of queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.evaluation.labelled import Sides
from store.evaluation.ranking import Ranked
from store.outcomes import NOTHING_FOUND, findings_instead
from store.schema import Floats, Integers

#: Pairs of kinds that are compared at once.
_PAIRS = 1 << 21
_DEFINITIONS = {
    "any": "a film is relevant when it shares a finding with the query; where nothing was found, "
    "films in which nothing was found are",
    "all": "a film is relevant when it has every finding of the query, and maybe more; where "
    "nothing was found, films in which nothing was found are",
    "jaccard": "the gain of a film is the Jaccard index of its findings and the query's, |both| / "
    "|either|, and 1 where nothing was found in both; P@k is the mean gain, and a gain above 0 "
    "counts as relevant elsewhere",
}
_FINDING = (
    "a film is relevant when {name} is present in it and in the query, or in neither; films where "
    "it is uncertain take no part"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule of relevance: ``any``, ``all``, ``jaccard``, or one finding alone.

    Attributes:
        kind: ``any``, ``all``, ``jaccard`` or ``finding``.
        finding: the one that is compared; empty unless the kind is ``finding``.
    """

    kind: str = "any"
    finding: str = ""

    @classmethod
    def of(cls, text: str | Rule) -> Rule:
        """The rule that a text names: any, all, jaccard or finding=NAME.

        Raises:
            BadQuery: it names none.
        """
        if isinstance(text, Rule):
            return text
        kind, equals, finding = text.partition("=")
        if kind == "finding" and finding.strip():
            return cls(kind, finding.strip())
        if equals or kind not in _DEFINITIONS:
            raise BadQuery(f"relevance {text!r}: expected any, all, jaccard or finding=NAME")
        return cls(kind)

    def __str__(self) -> str:
        return f"finding={self.finding}" if self.finding else self.kind

    @property
    def definition(self) -> str:
        """The rule in one sentence, without its full stop."""
        return _FINDING.format(name=self.finding) if self.finding else _DEFINITIONS[self.kind]

    def applied(self, findings: Sequence[str]) -> tuple[str, ...]:
        """The findings of a film that the rule compares, each once, in alphabetical order."""
        if not self.finding:
            return tuple(sorted(set(findings)))
        return (self.finding,) if self.finding in findings else ()


def one_hot(labels: Sequence[tuple[str, ...]], names: list[str]) -> npt.NDArray[np.float32]:
    """float32 (rows, names): 1 where a row has a label."""
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for row, found in enumerate(labels):
        hot[row, [column[name] for name in found]] = 1
    return hot


def certain(
    queries: Iterable[tuple[str, ...]],
    gallery: Iterable[tuple[str, ...]],
    rule: str | Rule = "any",
) -> bool:
    """Whether every row of a gallery has the full gain for every query."""
    rule = Rule.of(rule)
    asked, found = ({rule.applied(row) for row in rows} for rows in (queries, gallery))
    gains = _Gains(rule, _Kinds([*asked, *found]))
    searched = np.arange(len(asked), len(asked) + len(found))
    return all(
        bool((gains.levels[gains.level(np.asarray([query]), searched)] == 1).all())
        for query in range(len(asked))
    )


class _Kinds:
    """Distinct sets of findings, as bits."""

    def __init__(self, kinds: Sequence[tuple[str, ...]]) -> None:
        self.kinds = kinds
        self.names = sorted({name for kind in kinds for name in kind})
        hot = one_hot(kinds, self.names).astype(bool)
        words = -(-len(self.names) // 64) or 1
        padded = np.zeros((len(kinds), 64 * words), np.uint8)
        padded[:, : len(self.names)] = hot
        self.bits = np.packbits(padded, axis=1).view(np.uint64)
        self.sizes = hot.sum(axis=1).astype(np.int64)
        #: bool (kinds, names + 1): the findings of each, and last whether it has none.
        self.has = np.column_stack([hot, self.sizes == 0])

    @classmethod
    def of(cls, rows: Iterable[tuple[str, ...]]) -> tuple[_Kinds, Integers]:
        """The kinds of some rows, and the number of each row's."""
        numbers: dict[tuple[str, ...], int] = {}
        kind_of = [numbers.setdefault(row, len(numbers)) for row in rows]
        return cls(list(numbers)), np.asarray(kind_of, np.int64)

    def shared(self, left: Integers, right: Integers) -> Integers:
        """How many findings both kinds have, of arrays that broadcast."""
        both = np.bitwise_count(self.bits[left] & self.bits[right])
        found: Integers = both.sum(axis=-1, dtype=np.int64)
        return found


class _Gains:
    """Gains by a rule between kinds: numbers of levels, which ascend from 0."""

    def __init__(self, rule: Rule, kinds: _Kinds) -> None:
        self._rule, self._kinds = rule.kind, kinds
        self.levels = np.asarray([0.0, 1.0])
        if rule.kind in ("jaccard", "finding"):
            most = int(kinds.sizes.max(initial=1))
            both, either = np.arange(most + 1)[:, None], np.arange(2 * most + 1)
            index = np.minimum(both, either) / np.maximum(either, 1)
            index[0, 0] = 1.0  # nothing was found in both
            self.levels, places = np.unique(index, return_inverse=True)
            self._table = places.reshape(index.shape)

    def level(self, asked: Integers, found: Integers) -> Integers:
        """The level of kinds that are found for kinds that ask; the arrays broadcast."""
        both = self._kinds.shared(asked, found)
        mine, theirs = self._kinds.sizes[asked], self._kinds.sizes[found]
        if self._rule in ("jaccard", "finding"):
            levels: Integers = self._table[both, mine + theirs - both]
            return levels
        wanted = both == mine if self._rule == "all" else both > 0
        return np.where(mine > 0, wanted, theirs == 0).astype(np.int64)


class Relevance:
    """Relevance of a gallery's rows to queries, by a rule.

    The candidates of a query are the rows of the gallery outside its own group: totals, chance and
    ideal gains are of these.

    Attributes:
        rule: which.
        names: the findings of both sides, in alphabetical order.
        classes: the sets of findings that the rule tells apart, by number.
        class_names: what to call them; empty when one of them has several findings.
        asked_class, found_class: int64 (q,) and (n,), of each query and row the number of its own.
        candidates: int64 (q,), rows that each query may find.
    """

    def __init__(self, sides: Sides, rule: str | Rule = "any") -> None:
        """Raises BadQuery when the rule names a finding that no row has."""
        self.rule = Rule.of(rule)
        asked, searched = sides.queries.labels, sides.gallery.labels
        both = asked if sides.queries is sides.gallery else [*asked, *searched]
        whole = {row: tuple(sorted(set(row))) for row in both}
        self._whole, whole_of = _Kinds.of(whole[row] for row in both)
        self.names = self._whole.names
        if self.rule.finding and self.rule.finding not in self.names:
            raise BadQuery(
                f"relevance {self.rule}: no film evaluated has that finding; they have "
                f"{findings_instead(self.rule.finding, self.names)}"
            )
        self._kinds, kinds_of = self._whole, whole_of
        if self.rule.finding:
            self._kinds, of = _Kinds.of(map(self.rule.applied, self._whole.kinds))
            kinds_of = of[whole_of]
        self.classes = self._kinds.kinds
        nothing = f"not {self.rule.finding}" if self.rule.finding else NOTHING_FOUND
        single = all(len(kind) <= 1 for kind in self.classes)
        self.class_names = ["".join(kind) or nothing for kind in self.classes] if single else []
        last = len(searched)
        self.asked_class, self.found_class = kinds_of[: len(asked)], kinds_of[-last:]
        self._asked_set, self._found_set = whole_of[: len(asked)], whole_of[-last:]
        self._groups = sides.asking_group
        self._judged = _Totals(_Gains(self.rule, self._kinds), self, sides)
        graded = Rule("finding" if self.rule.finding else "jaccard")
        self._graded = (
            self._judged
            if graded.kind == self.rule.kind
            else _Totals(_Gains(graded, self._kinds), self, sides)
        )
        self._sets = _InGroups(self._found_set, len(self._whole.kinds), sides.searched_group)
        self._set_sizes = np.bincount(self._found_set, minlength=len(self._whole.kinds))
        self.candidates = last - self._sets.sizes(sides.asking_group)

    # -- of all rows -------------------------------------------------------------------------------

    def of(self, block: slice) -> npt.NDArray[np.bool_]:
        """Whether each row of the gallery (n,) is relevant to each query (b,) of a block.

        Of rows of the query's own group too, which are no candidates.
        """
        kinds = np.arange(len(self.classes))
        wanted, row = np.unique(self.asked_class[block], return_inverse=True)
        related = np.stack([self._judged.gains.level(kind, kinds) > 0 for kind in wanted])
        found: npt.NDArray[np.bool_] = related[row[:, None], self.found_class[None]]
        return found

    # -- of rankings -------------------------------------------------------------------------------

    def at(self, ranked: Ranked) -> npt.NDArray[np.bool_]:
        """Whether each row that was found (b, depth) is relevant; not where a rank is empty."""
        return self.gains(ranked) > 0

    def gains(self, ranked: Ranked) -> Floats:
        """The gain of each row that was found, float64 (b, depth); 0 where a rank is empty."""
        return self._gains_of(self._judged, ranked)

    def graded(self, ranked: Ranked) -> Floats:
        """The Jaccard index of each row that was found with its query, as ``gains``."""
        return self._gains_of(self._graded, ranked)

    def same(self, ranked: Ranked) -> npt.NDArray[np.bool_]:
        """Whether each row that was found (b, depth) has exactly the findings of its query."""
        equal = self._found_set[ranked.rows] == self._asked_set[ranked.block, None]
        found: npt.NDArray[np.bool_] = equal & (ranked.rows >= 0)
        return found

    def voters(self, ranked: Ranked) -> Integers:
        """The class of each row that was found, int64 (b, depth); -1 where a rank is empty."""
        return np.where(ranked.rows < 0, -1, self.found_class[ranked.rows])

    def _gains_of(self, totals: _Totals, ranked: Ranked) -> Floats:
        asked = self.asked_class[ranked.block, None]
        levels = totals.gains.level(asked, self.found_class[ranked.rows])
        found: Floats = np.where(ranked.rows < 0, 0.0, totals.gains.levels[levels])
        return found

    # -- of candidates -----------------------------------------------------------------------------

    def total(self, block: slice) -> Integers:
        """Number of candidates relevant to each query (b,)."""
        found: Integers = self._judged.counts(block)[:, 1:].sum(axis=1)
        return found

    def chance(self, block: slice) -> Floats:
        """Mean gain of the candidates of each query (b,): P@k of a ranking drawn blindly."""
        return self._judged.mean(block)

    def graded_chance(self, block: slice) -> Floats:
        """Mean Jaccard index of the candidates of each query (b,)."""
        return self._graded.mean(block)

    def same_chance(self, block: slice) -> Floats:
        """Share of the candidates of each query (b,) that have exactly its findings."""
        asked = self._asked_set[block]
        query, kind, count = self._sets.inside(self._groups[block])
        alike = kind == asked[query]
        others = np.bincount(query[alike], count[alike], minlength=len(asked))
        number = self.candidates[block]
        share: Floats = (self._set_sizes[asked] - others) / np.maximum(number, 1)
        return share

    def ideal(self, block: slice, depth: int) -> Floats:
        """The largest Jaccard indices of each query's candidates, float64 (b, depth)."""
        counts = self._graded.counts(block)[:, ::-1]
        best = np.append(self._graded.gains.levels[::-1], 0.0)
        ends = np.cumsum(counts, axis=1)
        # One search for all rows: those of each query lie beyond the ones before.
        step = max(int(ends.max(initial=0)), depth) + 1
        row = step * np.arange(len(ends))[:, None]
        place = np.searchsorted((ends + row).ravel(), (np.arange(depth) + row).ravel(), "right")
        level = place.reshape(len(ends), depth) - ends.shape[1] * np.arange(len(ends))[:, None]
        found: Floats = best[np.minimum(level, len(best) - 1)]
        return found

    # -- finding by finding ------------------------------------------------------------------------

    def columns(self) -> list[str]:
        """The findings by themselves, and last those in which nothing was found."""
        return [*self.names, NOTHING_FOUND]

    def asking(self, block: slice) -> npt.NDArray[np.bool_]:
        """Which findings each query has, (b, columns)."""
        found: npt.NDArray[np.bool_] = self._whole.has[self._asked_set[block]]
        return found

    def carrying(self, ranked: Ranked, queries: Integers, column: int) -> npt.NDArray[np.bool_]:
        """Which of the rows that were found for some of the queries have a finding."""
        rows = ranked.rows[queries]
        found: npt.NDArray[np.bool_] = self._whole.has[self._found_set[rows], column] & (rows >= 0)
        return found

    def carriers(self) -> Integers:
        """Rows of the gallery that have each finding, int64 (columns,)."""
        found: Integers = self._set_sizes @ self._whole.has
        return found

    def carriers_of(self, block: slice) -> Integers:
        """Candidates of each query that have each finding, int64 (b, columns)."""
        groups, row = np.unique(self._groups[block], return_inverse=True)
        group, kind, count = self._sets.inside(groups)
        inside = np.zeros((len(groups), len(self.names) + 1), np.int64)
        np.add.at(inside, group, self._whole.has[kind] * count[:, None])
        return self.carriers() - inside[row]


class _InGroups:
    """Counts of the kinds within each group of the gallery's rows."""

    def __init__(self, kind_of: Integers, kinds: int, groups: Integers) -> None:
        self._kinds = kinds
        self._pairs, self._counts = np.unique(groups * kinds + kind_of, return_counts=True)
        self._ends = np.append(0, np.cumsum(self._counts))

    def _bounds(self, groups: Integers) -> tuple[Integers, Integers]:
        first = np.searchsorted(self._pairs, groups * self._kinds)
        return first, np.searchsorted(self._pairs, (groups + 1) * self._kinds)

    def sizes(self, groups: Integers) -> Integers:
        """Rows of each of these groups."""
        first, last = self._bounds(groups)
        found: Integers = self._ends[last] - self._ends[first]
        return found

    def inside(self, groups: Integers) -> tuple[Integers, Integers, Integers]:
        """Kinds within these groups: the place of the group, the kind, how many rows."""
        first, last = self._bounds(groups)
        lengths = last - first
        place = np.repeat(np.arange(len(groups)), lengths)
        skipped = np.repeat(first - np.append(0, np.cumsum(lengths)[:-1]), lengths)
        entry = np.arange(len(place)) + skipped
        return place, self._pairs[entry] % self._kinds, self._counts[entry]


class _Totals:
    """Counts of each query's candidates, by the level of their gains."""

    def __init__(self, gains: _Gains, relevance: Relevance, sides: Sides) -> None:
        self.gains = gains
        self._asked, self._asking = relevance.asked_class, sides.asking_group
        kinds = len(relevance.classes)
        self._groups = _InGroups(relevance.found_class, kinds, sides.searched_group)
        sizes = np.bincount(relevance.found_class, minlength=kinds)
        searched = np.flatnonzero(sizes)
        wanted, self._row = np.unique(self._asked, return_inverse=True)
        depth = len(gains.levels)
        self._counts = np.zeros((len(wanted), depth), np.int64)
        step = max(1, _PAIRS // max(len(searched), 1))
        for start in range(0, len(wanted), step):
            some = wanted[start : start + step]
            levels = gains.level(some[:, None], searched[None])
            levels += depth * np.arange(len(some))[:, None]
            weights = np.broadcast_to(sizes[searched], levels.shape)
            found = np.bincount(levels.ravel(), weights.ravel(), minlength=depth * len(some))
            self._counts[start : start + len(some)] = found.reshape(len(some), depth)

    def counts(self, block: slice) -> Integers:
        """Candidates of each query (b,) at each level."""
        found: Integers = self._counts[self._row[block]]
        query, kind, count = self._groups.inside(self._asking[block])
        levels = self.gains.level(self._asked[block][query], kind)
        np.subtract.at(found, (query, levels), count)
        return found

    def mean(self, block: slice) -> Floats:
        """The mean gain of each query's candidates (b,); 0 where it has none."""
        counts = self.counts(block)
        found: Floats = counts @ self.gains.levels / np.maximum(counts.sum(axis=1), 1)
        return found
