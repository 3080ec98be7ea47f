"""What an encoder matches by, beside the findings: data set, view, sex, age, patient, own columns.

Hits that share the finding of their query should share nothing else more often than chance has it.
Where they do, the encoder sees that column and ranks by it, a shortcut (Geirhos et al. 2020, Nature
Machine Intelligence 2:665; DeGrave et al. 2021, ibid. 3:610, of chest films).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from store.analysis.pair_intervals import Pairs, Side, interval, joined, of_value
from store.errors import BadQuery
from store.evaluation.intervals import bootstrap
from store.evaluation.intervals import interval as resampled
from store.evaluation.labelled import Labelled, SamePatient, Sides
from store.evaluation.metrics import plain
from store.evaluation.protocols import LEAVE_ONE_OUT, sides
from store.evaluation.ranking import Ranked, by_vectors
from store.evaluation.relevance import Relevance, Rule
from store.mirror.snapshot import Snapshot
from store.schema import Floats, Integers, Progress
from store.search.base import Searcher
from store.table import custom_columns

if TYPE_CHECKING:
    from store.gallery import Gallery

#: Our columns that say something other than the finding.
COLUMNS = ("dataset", "split", "view", "sex", "age", "patient", "study")
#: Of these no film of the query's own patient could share a value, so those films are counted.
_OF_PATIENTS = ("patient", "study")
#: Queries below which a figure is called uncertain.
FEW = 30
#: Numbers and dates with more different values than this go into bands.
_BANDED = 10
_RESAMPLES = 1000
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """Precision@k of the queries with one value of a column.

    Attributes:
        value: of the column, or a band of values.
        queries: labelled queries with it.
        candidates: films with another value, the most that a query may find "across".
        precision, ci95: over the usual ranking, with its 95 % interval.
        chance: to be expected of a blind ranking.
        across, across_ci95: when only films with another value may be found; NaN without any.
        across_chance: the same of a blind ranking.
    """

    value: str
    queries: int
    candidates: int
    precision: float
    ci95: tuple[float, float]
    chance: float
    across: float
    across_ci95: tuple[float, float]
    across_chance: float

    @property
    def few(self) -> bool:
        """Whether the queries are too few for the figures to mean much."""
        return self.queries < FEW


@dataclass(frozen=True, slots=True)
class ColumnMatch:
    """Lift of one column: how much more often than chance hits share its value.

    Attributes:
        name: of the column.
        kind: ``values``, ``decades`` or ``quarters`` (bands of equally many films).
        distinct: different values, or bands.
        shared: share of the pairs of a query and a hit with its finding that share the value.
        chance: the same of all films with its finding that each query could have found.
        lift: shared / chance. 1: the encoder does not match by it.
        ci95: 95 % interval of the lift; NaN where it is 0 or the films are too few.
        pairs: how many, of a query and a hit that share a finding and both have a value.
        queries: with such a hit.
        left_out: pairs without a value at either end.
        missing: labelled films without a value.
        same_patient: whether films of the query's own patient were found too.
        values: the most frequent ones; empty for patients and studies.
        more: values that are not among them.
    """

    name: str
    kind: str
    distinct: int
    shared: float
    chance: float
    lift: float
    ci95: tuple[float, float]
    pairs: int
    queries: int
    left_out: int
    missing: int
    same_patient: bool
    values: tuple[ValueMatch, ...] = ()
    more: int = 0

    @property
    def few(self) -> bool:
        """Whether the queries are too few for the lift to mean much."""
        return self.queries < FEW


@dataclass(frozen=True, slots=True)
class Matches:
    """Lift of every column, the greatest first.

    Attributes:
        protocol, k, queries, gallery: of the ranking.
        relevance: {"name": .., "definition": a sentence}: when a hit shares the finding.
        excluded: ``patient``, ``study`` or ``film``: what is not in a query's ranking.
        patients: films whose patient is known, see Sides.patients.
        short: queries that may find fewer than k films; the empty places are misses.
        interval: what the intervals are over: {"over": "patients", "units": 312, "method": ..}.
        left_out: reason to {"queries": n, "gallery": n}: films that took no part.
        columns: that could be measured.
        not_measured: the others, with the reason.
        store: which gallery, see Gallery.describe.
    """

    protocol: str
    k: int
    queries: int
    gallery: int
    relevance: dict[str, str]
    excluded: str
    patients: dict[str, int | None]
    short: int
    interval: dict[str, Any]
    left_out: dict[str, dict[str, int]]
    columns: tuple[ColumnMatch, ...]
    not_measured: dict[str, str]
    store: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types; NaN is null."""
        return {
            **{name: plain(getattr(self, name)) for name in self.__slots__},
            "columns": [_document(column) for column in self.columns],
        }


def _document(column: ColumnMatch) -> dict[str, Any]:
    def names(of: ColumnMatch | ValueMatch) -> dict[str, Any]:
        return {name: plain(getattr(of, name)) for name in (*of.__slots__, "few")}

    return {**names(column), "values": [names(value) for value in column.values]}


def matched_by(
    gallery: Gallery,
    protocol: str = LEAVE_ONE_OUT,
    k: int = 10,
    *,
    split: str | None = "test",
    gallery_split: str = "train",
    dataset: str | None = None,
    relevance: str | Rule = "any",
    same_patient: SamePatient = "exclude",
    values: int = 12,
    progress: Progress | None = None,
) -> Matches:
    """Lift over chance by which hits share more than the finding, and Precision@k across values.

    Over all pairs of a query q and one of its top k hits h that shares its finding, where both have
    a value of column C::

        shared = mean [C(q) = C(h)]
        chance = mean share of C(q) among all films with q's finding that q could have found
        lift   = shared / chance

    An encoder that does not see C draws its hits among the films of the finding as they come: lift
    1. The interval is over patients at both ends of the pairs, see store.analysis.pair_intervals.
    With several findings a film, sharing one of them leaves room for sharing more: then a column
    that goes with findings has a lift of its own; relevance by one finding has not.

    Precision@k across values: the queries with value v, over the usual ranking and when only films
    with another value may be found, each beside the precision of a blind ranking.

    Args:
        gallery: with its vectors in memory.
        protocol: as for Gallery.evaluate, like the next three.
        k: depth.
        split: of the queries.
        gallery_split: of the gallery in the split protocol.
        dataset: only rows of this data set.
        relevance: any, all, jaccard or finding=NAME; a hit shares the finding when its gain is
            above 0.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them; for the
            columns patient and study they are always counted.
        values: of each column, the most frequent are asked across; 0 leaves this out, which
            searches the gallery once more for every column.
        progress: called with rankings done and in all.

    Raises:
        BadQuery: as Gallery.evaluate.
    """

    def ask(now: Snapshot) -> Matches:
        asking, searched = sides(now, protocol, split, gallery_split, dataset, rule)
        films = _Films.of(asking, searched, rule)
        both = Sides.of(films.queries, films.gallery, same_patient)
        depth = both.depths([k])[0]
        read, refused = _columns(now, films)
        found, none = _measured(films, both, depth, read, values, progress)
        refused |= none
        return Matches(
            protocol,
            k,
            len(both.queries.ids),
            len(both.gallery.ids),
            {"name": str(rule), "definition": rule.definition},
            both.excluded,
            both.patients,
            int((both.candidates < depth).sum()),
            {
                **resampled(both.units, both.unit_kind),
                "method": "dyadic cluster-robust variance, logarithmic scale",
            },
            {
                reason: {
                    "queries": asking.left_out.get(reason, 0),
                    "gallery": searched.left_out.get(reason, 0),
                }
                for reason in dict.fromkeys([*asking.left_out, *searched.left_out])
            },
            tuple(sorted(found, key=lambda one: (-one.lift, one.name))),
            {name: refused[name] for name in _names(now) if name in refused},
            gallery.describe(cast(Searcher, now)),
        )

    rule = Rule.of(relevance)
    return gallery.read_mirror("what it matches by", ask)


def _measured(
    films: _Films,
    both: Sides,
    k: int,
    columns: Sequence[_Column],
    values: int,
    progress: Progress | None,
) -> tuple[list[ColumnMatch], dict[str, str]]:
    """Columns that can be measured, and why the others cannot."""
    found, refused = [], {}
    own = [column for column in columns if column.name in _OF_PATIENTS]
    others = [column for column in columns if column.name not in _OF_PATIENTS]
    asked = [column.frequent(values) for column in others]
    rank = _Ranking(films, k, progress, bool(others) + bool(own) + sum(map(bool, asked)))
    if others:
        usual = rank(both)
        for column, some in zip(others, asked, strict=True):
            one = _match(films, usual, column)
            if isinstance(one, str):
                refused[column.name] = one
            else:
                across = _across(films, rank, usual, column, some)
                found.append(replace(one, values=across, more=one.distinct - len(some)))
    if own:
        counted = rank(Sides.of(films.queries, films.gallery, "count"))
        for column in own:
            one = _match(films, counted, column)
            if isinstance(one, str):
                refused[column.name] = one
            else:
                found.append(one)
    return found, refused


# -- films, their kinds and values ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Films:
    """Films of both sides, in the order of their ids.

    Attributes:
        patients: int64 (q,) and (n,), clusters of both sides, numbered from 0: patients, studies or
            films.
        kinds: int64 (q,) and (n,), rows and columns of ``gain``: films of one kind have the same
            findings.
        gain: float64 (kinds, kinds), of a film for a query.
        positions: int64 (q + n,), in the snapshot, of queries and gallery.
    """

    queries: Labelled
    gallery: Labelled
    patients: tuple[Integers, Integers]
    kinds: tuple[Integers, Integers]
    gain: Floats
    positions: Integers

    @classmethod
    def of(cls, queries: Labelled, gallery: Labelled, rule: str | Rule) -> _Films:
        both = Sides.of(queries, gallery)
        _, patient = np.unique(
            np.concatenate([both.asking_group, both.searched_group]), return_inverse=True
        )
        judged = Relevance(both, rule)
        _, asks, asked = np.unique(judged.asked_class, return_index=True, return_inverse=True)
        _, finds, found = np.unique(judged.found_class, return_index=True, return_inverse=True)
        none = np.zeros((1, len(finds)), np.float32)
        gain = [
            judged.gains(Ranked(slice(int(one), int(one) + 1), finds[None], none))[0]
            for one in asks
        ]
        split = len(both.queries.ids)
        patients = patient[:split], patient[split:]
        if both.queries.positions is None or both.gallery.positions is None:
            raise BadQuery("films that are not in the gallery have no columns to compare")
        positions = np.concatenate([both.queries.positions, both.gallery.positions])
        kinds = asked, found
        return cls(both.queries, both.gallery, patients, kinds, np.stack(gain), positions)


#: Texts about a film; their values are for no table.
_WRITTEN = ("report", "remark")


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """Values of a column: of queries and gallery int64, numbers of ``names``; -1 for none."""

    name: str
    kind: str
    names: list[str]
    asking: Integers
    found: Integers

    def frequent(self, most: int) -> list[int]:
        """The most frequent values among the queries, in their order."""
        counts = np.bincount(self.asking[self.asking >= 0], minlength=len(self.names))
        ranked = np.lexsort((np.arange(len(counts)), -counts))[:most]
        return sorted(int(value) for value in ranked if counts[value])


def _names(now: Snapshot) -> list[str]:
    """The columns that are looked at: ours, without what is written of a film, and the user's."""
    schema = now.metadata.schema
    own = custom_columns.kinds(schema)
    return [*(name for name in COLUMNS if name in schema.names and name not in _WRITTEN), *own]


def _columns(now: Snapshot, films: _Films) -> tuple[list[_Column], dict[str, str]]:
    """Columns with values to compare, and why others have none."""
    kinds = custom_columns.kinds(now.metadata.schema)
    at = films.positions
    usable, refused = [], {}
    for name in _names(now):
        cells = now.metadata[name].take(pa.array(at))
        codes, names, kind = _coded(cells, "decades" if name == "age" else kinds.get(name, ""))
        if name in _OF_PATIENTS:  # the same name in another data set is somebody else
            sets = _coded(now.metadata["dataset"].take(pa.array(at)), "")[0]
            known = codes >= 0
            both, which = np.unique(np.stack([sets, codes])[:, known], axis=1, return_inverse=True)
            codes, names = _placed(known, which), [names[code] for code in both[1]]
        each = np.unique(codes[codes >= 0])
        films_known = len(np.unique(at[codes >= 0]))
        if not len(each):
            refused[name] = "no film has a value"
        elif len(each) == 1:
            refused[name] = f"all films have the same: {names[each[0]]}"
        elif len(each) == films_known:
            refused[name] = "every film has another value"
        else:
            split = len(films.queries.ids)
            usable.append(_Column(name, kind, names, codes[:split], codes[split:]))
    return usable, refused


def _coded(cells: pa.ChunkedArray, kind: str) -> tuple[Integers, list[str], str]:
    """Numbers of the values of a column, -1 for none; their names; what they are."""
    if kind in ("decades", "int", "float", "date"):
        return _banded(cells, kind)
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if pa.types.is_boolean(cells.type):
        cells = pc.if_else(cells, "yes", "no")
    found = cells.to_numpy(zero_copy_only=False)
    known = np.asarray([isinstance(cell, str) and cell.strip() != "" for cell in found])
    names, which = np.unique(found[known].astype(str), return_inverse=True)
    return _placed(known, which), names.tolist(), "values"


def _banded(cells: pa.ChunkedArray, kind: str) -> tuple[Integers, list[str], str]:
    """Numbers and dates: few different ones as they are, others in bands."""
    if kind == "date":
        cells = cells.cast(pa.int32())
    numbers = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = np.isfinite(numbers)
    numbers = numbers[known]
    if kind == "decades":
        decades, which = np.unique(np.floor(numbers / 10).astype(np.int64), return_inverse=True)
        names = [f"{10 * ten}–{10 * ten + 9}" for ten in decades.tolist()]
        return _placed(known, which), names, "decades"
    different, which = np.unique(numbers, return_inverse=True)
    if len(different) <= _BANDED:
        return _placed(known, which), [_written(one, kind) for one in different], "values"
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    bands, which = np.unique(np.searchsorted(edges, numbers, "left"), return_inverse=True)
    names = []
    for band in range(len(bands)):
        inside = numbers[which == band]
        low, high = _written(inside.min(), kind), _written(inside.max(), kind)
        names.append(low if low == high else f"{low} to {high}")
    return _placed(known, which), names, "quarters"


def _written(number: float, kind: str) -> str:
    if kind == "date":
        return date.fromordinal(_EPOCH + int(number)).isoformat()
    return f"{number:g}"


def _placed(known: npt.NDArray[np.bool_], which: Integers) -> Integers:
    codes = np.full(len(known), -1, np.int64)
    codes[known] = which.ravel()
    return codes


# -- rankings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """The top k of some queries.

    Attributes:
        sides: of the ranking.
        asking: int64 (r,), which queries.
        rows: int64 (r, k), rows of the whole gallery, -1 where no more could be found.
        gains: float64 (r, k).
    """

    sides: Sides
    asking: Integers
    rows: Integers
    gains: Floats

    @property
    def precision(self) -> Floats:
        """Mean gain of the top k of each query, float64 (r,); empty places are misses."""
        mean: Floats = self.gains.mean(axis=1)
        return mean


class _Ranking:
    """Ranks queries, and says how far it has come."""

    def __init__(self, films: _Films, k: int, progress: Progress | None, passes: int) -> None:
        self._films, self._k, self._progress = films, k, progress
        self._done, self._total = 0, passes * len(films.queries.ids)

    def __call__(
        self, sides: Sides, asking: Integers | None = None, searched: Integers | None = None
    ) -> _Ranked:
        """The top k; of some queries, among some films, which the queries are not.

        Args:
            sides: of all films.
            asking: int64, rows of the queries; None for all.
            searched: int64, rows of the gallery; None for all.
        """
        if asking is None or searched is None:
            asking, part = np.arange(len(sides.queries.ids)), sides
            searched = np.arange(len(sides.gallery.ids))
        else:
            part = replace(
                sides,
                queries=_only(sides.queries, asking),
                gallery=_only(sides.gallery, searched),
                own=np.full(len(asking), -1, np.int64),
                asking_group=sides.asking_group[asking],
                searched_group=sides.searched_group[searched],
                units=sides.units[asking],
            )
        rows = np.full((len(asking), self._k), -1, np.int64)
        depth = min(self._k, int(part.candidates.max(initial=0)))
        for ranked in by_vectors(part, depth) if depth else ():
            found = np.where(ranked.rows < 0, -1, searched[ranked.rows])
            rows[ranked.block, : found.shape[1]] = found
            self._done += len(found)
            if self._progress is not None:
                self._progress(min(self._done, self._total), self._total)
        mine, theirs = self._films.kinds
        gains = np.where(rows < 0, 0.0, self._films.gain[mine[asking][:, None], theirs[rows]])
        return _Ranked(sides, asking, rows, gains)


def _only(films: Labelled, rows: Integers) -> Labelled:
    """Some films. An index that has them finds them: their vectors are not copied."""
    positions = films.positions
    return Labelled(
        [films.ids[row] for row in rows],
        films.vectors[rows],
        [films.labels[row] for row in rows],
        films.searched,
        None if positions is None else positions[rows],
    )


# -- lift ----------------------------------------------------------------------------------------


def _match(films: _Films, usual: _Ranked, column: _Column) -> ColumnMatch | str:
    """The lift of one column, or why there is none."""
    relevant = usual.gains > 0
    theirs = np.where(usual.rows < 0, -1, column.found[usual.rows])
    known = relevant & (theirs >= 0) & (column.asking >= 0)[:, None]
    query, rank = np.nonzero(known)
    if not len(query):
        return "no hit shares the finding of its query, both with a value"
    hit = usual.rows[query, rank]
    candidates, same = _candidates(films, usual.sides, column)
    chance = np.divide(same, candidates, out=np.zeros(len(same)), where=candidates > 0)
    expected = float(chance[query].mean())
    if not expected:
        return "no film that could be found shares the finding and the value"
    shared = float((column.asking[query] == column.found[hit]).mean())
    lift = shared / expected
    sides = (
        Side(films.patients[0], films.kinds[0], column.asking),
        Side(films.patients[1], films.kinds[1], column.found),
    )
    excluded = usual.sides.same_patient == "exclude"
    pairs = Pairs(query, hit, candidates, chance)
    codes = np.concatenate([column.asking, column.found])
    return ColumnMatch(
        column.name,
        column.kind,
        len(np.unique(codes[codes >= 0])),
        shared,
        expected,
        lift,
        interval(lift, pairs, *sides, films.gain > 0, excluded),
        len(query),
        len(np.unique(query)),
        int(relevant.sum()) - len(query),
        len(np.unique(films.positions[codes < 0])),
        not excluded,
    )


def _candidates(films: _Films, sides: Sides, column: _Column) -> tuple[Floats, Floats]:
    """Of each query the relevant films with a value that it may find, and those of its value.

    Returns:
        float64 (q,) each.
    """
    related = (films.gain > 0).astype(np.float64)
    has = column.found >= 0
    asked, which, _ = _cells(films.kinds[0], column.asking)
    found, _, count = _cells(films.kinds[1][has], column.found[has])
    every = (related @ np.bincount(found[0], count, related.shape[1]))[films.kinds[0]]
    same = of_value(related, asked, found, count)[which]
    mine, which, _ = _cells(sides.asking_group, films.kinds[0], column.asking)
    near, _, count = _cells(
        *(of[has] for of in (sides.searched_group, films.kinds[1], column.found))
    )
    own = np.zeros((2, mine.shape[1]))
    for a, b in joined(mine[0], near[0]):
        terms = related[mine[1][a], near[1][b]] * count[b]
        own[0] += np.bincount(a, terms, own.shape[1])
        own[1] += np.bincount(a, terms * (mine[2][a] == near[2][b]), own.shape[1])
    return every - own[0][which], same - own[1][which]


def _cells(*of: Integers) -> tuple[Integers, Integers, Integers]:
    """The different columns of some lists of one length, the number of each film's; their films."""
    cells, which, count = np.unique(np.stack(of), axis=1, return_inverse=True, return_counts=True)
    return cells, which.ravel(), count


def _across(
    films: _Films, rank: _Ranking, usual: _Ranked, column: _Column, values: Sequence[int]
) -> tuple[ValueMatch, ...]:
    """Precision of the queries of each value, and when only other values may be found."""
    found = []
    blind = _blind(films, usual.sides, np.ones(len(column.found), bool))
    for value in values:
        asking = np.flatnonzero(column.asking == value)
        other = (column.found >= 0) & (column.found != value)
        precision = np.full((len(asking), 2), math.nan)
        precision[:, 0] = usual.precision[asking]
        chance = math.nan
        if other.any():
            precision[:, 1] = rank(usual.sides, asking, np.flatnonzero(other)).precision
            chance = float(_blind(films, usual.sides, other)[asking].mean())
        intervals = bootstrap(precision, [0, 1], _RESAMPLES, usual.sides.units[asking])
        found.append(
            ValueMatch(
                column.names[value],
                len(asking),
                int(other.sum()),
                float(precision[:, 0].mean()),
                intervals[0],
                float(blind[asking].mean()),
                float(precision[:, 1].mean()),
                intervals[1],
                chance,
            )
        )
    return tuple(found)


def _blind(films: _Films, sides: Sides, searched: npt.NDArray[np.bool_]) -> Floats:
    """Mean gain of the films searched that each query may find, float64 (q,); 0 without any."""
    asked, which, _ = _cells(sides.asking_group, films.kinds[0])
    found, _, count = _cells(sides.searched_group[searched], films.kinds[1][searched])
    total = np.full(asked.shape[1], float(searched.sum()))
    gains = (films.gain @ np.bincount(found[1], count, films.gain.shape[1]))[asked[1]]
    for a, b in joined(asked[0], found[0]):
        gains -= np.bincount(a, films.gain[asked[1][a], found[1][b]] * count[b], len(gains))
        total -= np.bincount(a, count[b], len(total))
    blind: Floats = np.divide(gains, total, out=np.zeros(len(gains)), where=total > 0)
    return blind[which]
