"""Effect of changes of curation on Precision@k: what the same queries find before and after.

Labels do not move vectors, so the neighbours of a film stay those they were: they are ranked once
for both states, over the films of both and somewhat deeper than asked for, and films that are in
one state only are passed over in the other. The ranking is kept for the next effect.

A correction towards what the neighbours say raises Precision@k by itself: it is a measure of how
consistent labels and vectors are, not of who is right.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from store.curation.edits import LABELS
from store.errors import BadQuery, NothingToMeasure
from store.evaluation import measures
from store.evaluation.intervals import bootstraps, interval
from store.evaluation.labelled import Groups, Labelled, SamePatient, Sides
from store.evaluation.protocols import LEAVE_ONE_OUT, SPLIT, taking_part
from store.evaluation.ranking import Ranked, by_vectors
from store.evaluation.relevance import Relevance, Rule
from store.mirror.snapshot import Snapshot
from store.schema import Floats, Integers, Progress, Vectors
from store.table.rows import CHECKSUM

if TYPE_CHECKING:
    from store.curation.log import FilmChange
    from store.gallery import Gallery

_RESAMPLES = 2000
#: Ranks kept beyond those asked for: so many films may leave before all is ranked anew.
_DEEPER = 32
#: Films that one state has more than the other, up to which both are ranked at once.
TOGETHER = 256
#: Rankings kept, of n x depth int32 each.
_KEPT = 4
#: What groups films, and what protocols choose them by.
_COLUMNS = ("dataset", "patient", "study", "split")
#: Films from which an effect is asked for: ranking them takes longer than one waits unasked.
MANY = 20_000


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of changes on Precision@k under one protocol, over the queries of both states.

    Attributes:
        protocol: ``leave-one-out``, or ``split``: films of test search those of train.
        films: that changed and take part in it.
        queries: films that are queries before and after; those compared.
        gallery: films searched, before and after.
        before, after: mean precision of these queries, per k.
        difference: after minus before, per k.
        ci95: 95 % bootstrap interval of the difference, over the patients of the queries.
        better, worse: queries with a higher, or lower, precision after.
        interval: what it was resampled over; see store.evaluation.intervals.interval.
    """

    protocol: str
    films: int
    queries: int
    gallery: tuple[int, int]
    before: dict[int, float]
    after: dict[int, float]
    difference: dict[int, float]
    ci95: dict[int, tuple[float, float]]
    better: dict[int, int]
    worse: dict[int, int]
    interval: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, dict) and name != "interval":
                value = {str(k): list(v) if isinstance(v, tuple) else v for k, v in value.items()}
            found[name] = list(value) if isinstance(value, tuple) else value
        return found


def effect(
    gallery: Gallery,
    operations: Sequence[str],
    k: Sequence[int] = (1, 3, 5, 10),
    *,
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
    progress: Progress | None = None,
) -> list[Effect]:
    """Effect of operations of curation, all else as it is now: leave-one-out, and split if any.

    Before: the films of these operations as the first of them found them. After: as the last of
    them left them. Films that are gone for good since are in neither.

    Args:
        gallery: with its vectors in memory.
        operations: ids of the log, of one gallery.
        k: depths; those beyond the smaller state are left out.
        relevance: any, all, jaccard or finding=NAME; see store.evaluation.relevance.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.
        progress: called with queries ranked and in all.

    Returns:
        One for each protocol under which films take part; none where nothing that counts changed.

    Raises:
        UsageError: no such operation.
        BadQuery: no such relevance; vectors are not in memory.
    """
    curation = gallery.curation()
    numbered = sorted((curation.operation(one) for one in operations), key=lambda one: one.number)
    changes = [change for one in numbered for change in curation.changes_of(one.id)]
    return effect_of(gallery, changes, k, relevance, same_patient, progress)


def effect_of(
    gallery: Gallery,
    changes: Sequence[FilmChange],
    k: Sequence[int] = (1, 3, 5, 10),
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
    progress: Progress | None = None,
) -> list[Effect]:
    """The same of changes film by film, the oldest first: of several operations, or of a plan."""
    rule = Rule.of(relevance)
    first: dict[str, dict[str, Any]] = {}
    last: dict[str, dict[str, Any]] = {}
    for one in changes:
        counted = {*LABELS, "place"}
        before, after = (
            {name: value for name, value in cells.items() if name in counted}
            for cells in (one.before, one.after)
        )
        if before or after:
            first[one.film] = {**before, **first.get(one.film, {})}
            last[one.film] = {**last.get(one.film, {}), **after}
    touched = sorted(film for film in first if first[film] != last[film])
    if not touched:
        return []
    aside = gallery.curation().films_aside(touched)

    def ask(now: Snapshot) -> list[Effect]:
        films = _Films(now, touched, aside)
        others = films.untouched(rule)
        states = [_State(films, others, overlay, rule) for overlay in (first, last)]
        found = []
        for protocol in (LEAVE_ONE_OUT, SPLIT):
            try:
                one = _under(protocol, films, states, touched, k, rule, same_patient, progress)
            except (NothingToMeasure, BadQuery) as error:
                if isinstance(error, BadQuery) and protocol == LEAVE_ONE_OUT and rule.finding:
                    raise
                one = None
            if one is not None:
                found.append(one)
        return found

    return gallery.read_mirror("the effect of a change", ask)


class _Films:
    """All films of a gallery, and touched ones that are set aside: columns, vectors, digests."""

    def __init__(self, now: Snapshot, touched: Sequence[str], aside: pa.Table | None) -> None:
        have = [name for name in (*LABELS, *_COLUMNS, CHECKSUM) if name in now.handle.schema.names]
        table = now.columns(["id", *have])
        self.vectors: Vectors = now.vectors
        self.here = len(table)
        if aside is not None and len(aside):
            more = aside.filter(pc.invert(pc.is_in(aside["id"], now.keys)))
            if len(more):
                table = pa.concat_tables(
                    [table, more.select(["id", *have])], promote_options="default"
                )
                flat = more["embedding"].combine_chunks().flatten().to_numpy()
                vectors = flat.reshape(len(more), -1).astype(np.float32)
                self.vectors = np.concatenate([now.vectors, vectors])
        self.table = table
        self.keys = table["id"].combine_chunks()
        self.ids: list[str] = table["id"].to_pylist()
        places = pc.index_in(pa.array(touched, pa.string()), self.keys)
        self.touched = {
            film: at for film, at in zip(touched, places.to_pylist(), strict=True) if at is not None
        }
        nothing = [None] * len(table)
        cells = (
            table[name].to_pylist() if name in have else nothing
            for name in ("dataset", "patient", "study")
        )
        self.groups = Groups.of(*cells)
        self.splits = np.asarray(table["split"].to_pylist() if "split" in have else nothing, object)
        self.digests = table[CHECKSUM].to_numpy()

    def untouched(self, rule: Rule) -> dict[int, tuple[str, ...]]:
        """Findings by place of the films that take part in both states alike."""
        own = np.asarray(sorted(self.touched.values()), np.int64)
        part = taking_part(self.findings, np.setdiff1d(np.arange(self.here), own), rule)
        return dict(zip(part.places.tolist(), part.findings, strict=True))

    @property
    def findings(self) -> pa.Table:
        """The columns of findings of all films."""
        return self.table.select([name for name in LABELS if name in self.table.column_names])


class _State:
    """Films that take part before or after, and their findings.

    Attributes:
        places: int64 (n,), of the films in _Films, ascending.
        labels: by place.
    """

    def __init__(
        self,
        films: _Films,
        others: Mapping[int, tuple[str, ...]],
        overlay: Mapping[str, Mapping[str, Any]],
        rule: Rule,
    ) -> None:
        found = films.findings
        self.labels = dict(others)
        lines, kept = [], []
        for film, at in films.touched.items():
            said = overlay[film]
            if said.get("place", "gallery" if at < films.here else "") == "gallery":
                line = found.slice(at, 1).to_pylist()[0]
                lines.append({**line, **{n: v for n, v in said.items() if n in LABELS}})
                kept.append(at)
        if lines:
            whole = pa.Table.from_pylist(lines, schema=found.schema)
            mine = taking_part(whole, np.arange(len(lines)), rule)
            self.labels |= {
                kept[row]: labels
                for row, labels in zip(mine.places.tolist(), mine.findings, strict=True)
            }
        self.places: Integers = np.asarray(sorted(self.labels), np.int64)


def _under(
    protocol: str,
    films: _Films,
    states: Sequence[_State],
    touched: Sequence[str],
    k: Sequence[int],
    rule: Rule,
    same_patient: SamePatient,
    progress: Progress | None,
) -> Effect | None:
    """The effect under one protocol; None where it has no queries or no changed films."""
    asked, searched = [], []
    for state in states:
        if protocol == SPLIT:
            asked.append(state.places[films.splits[state.places] == "test"])
            searched.append(state.places[films.splits[state.places] == "train"])
        else:
            asked.append(state.places)
            searched.append(state.places)
    queries = np.intersect1d(*asked)
    both, askers = np.union1d(*searched), np.union1d(*asked)
    part = np.intersect1d(np.asarray([*films.touched.values()]), np.union1d(both, askers))
    if not len(part) or not len(queries) or not all(map(len, searched)):
        return None
    depths = sorted({one for one in k if 1 <= one < min(map(len, searched))})
    if not depths:
        return None
    spare = len(both) - min(map(len, searched))
    rankings = [_Wanted(protocol, askers, both, depths[-1], spare, same_patient)] * 2
    if spare > TOGETHER:
        rankings = [
            _Wanted(f"{protocol}, {at}", some, searched[at], depths[-1], 0, same_patient)
            for at, some in enumerate(asked)
        ]
    tables = []
    for state, some, wanted in zip(states, searched, rankings, strict=True):
        ranked = _ranked(wanted, films, progress)
        tables.append(_precision(films, state, queries, some, ranked, depths, rule, same_patient))
    values, units = [table for table, _ in tables], tables[0][1]
    gap = values[1] - values[0]
    bounds = bootstraps([gap], _RESAMPLES, units.numbers, together=True)[0]

    def named(row: Sequence[Any]) -> dict[int, Any]:
        return dict(zip(depths, row, strict=True))

    return Effect(
        protocol,
        len(part),
        len(queries),
        (len(searched[0]), len(searched[1])),
        named(values[0].mean(axis=0).tolist()),
        named(values[1].mean(axis=0).tolist()),
        named(gap.mean(axis=0).tolist()),
        named(bounds),
        named((gap > 1e-9).sum(axis=0).tolist()),
        named((gap < -1e-9).sum(axis=0).tolist()),
        interval(units.numbers, units.kind),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """Numbers of the queries' patients, and what they are."""

    numbers: Integers
    kind: Any


def _sides(
    films: _Films,
    queries: Integers,
    gallery: Integers,
    labels: Mapping[int, tuple[str, ...]] | None,
    same_patient: SamePatient,
    *,
    vectors: bool,
) -> Sides:
    """Two sides of an evaluation, of films at some places."""

    def side(places: Integers) -> Labelled:
        groups = [films.groups.names[at] for at in places]
        return Labelled(
            [films.ids[at] for at in places],
            films.vectors[places] if vectors else np.empty((len(places), 0), np.float32),
            [() if labels is None else labels[at] for at in places.tolist()],
            groups=groups,
            group_kind=films.groups.kind if any(groups) else "film",
        )

    asking = side(queries)
    same = len(queries) == len(gallery) and bool((queries == gallery).all())
    return Sides.of(asking, asking if same else side(gallery), same_patient)


# -- rankings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """Ranking that is wanted: films that ask and films that are searched, by place in _Films.

    Attributes:
        name: under which it is kept.
        depth: ranks that count.
        spare: films searched that may be passed over besides.
    """

    name: str
    asked: Integers
    searched: Integers
    depth: int
    spare: int
    same_patient: SamePatient


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Neighbours of films, by id: rows are numbers of films in ``searched``; -1 where no more."""

    key: tuple[str, SamePatient]
    asked: pa.Array
    searched: pa.Array
    marks: tuple[npt.NDArray[Any], npt.NDArray[Any]]
    rows: npt.NDArray[np.int32]


_kept: list[_Ranking] = []
_lock = threading.Lock()


def _marks(films: _Films, places: Integers) -> npt.NDArray[Any]:
    """What a film's neighbours depend on: the digest of its vector, and its group."""
    groups = np.asarray([hash(films.groups.names[at]) for at in places], np.int64)
    return np.stack([films.digests[places].astype(np.int64), groups])


def _ranked(wanted: _Wanted, films: _Films, progress: Progress | None) -> Integers:
    """Places of the nearest films of each film asked, int64 (n films, ranks), -1 beyond.

    From a ranking that is kept, if it is of these films and perhaps some more that are gone; else
    made anew, and kept.
    """
    key = (wanted.name, wanted.same_patient)
    with _lock:
        for one in _kept:
            if one.key == key and (found := _again(one, films, wanted)) is not None:
                return found
    sides = _sides(films, wanted.asked, wanted.searched, None, wanted.same_patient, vectors=True)
    most = int(sides.candidates.max(initial=0))
    if not most:
        raise NothingToMeasure("films of the query's own patient alone: there is nothing to find")
    deep = min(wanted.depth + wanted.spare + _DEEPER, most)
    rows = np.full((len(sides.queries.ids), deep), -1, np.int32)
    for block in by_vectors(sides, deep):
        rows[block.block] = block.rows
        if progress is not None:
            progress(block.block.stop, len(rows))
    # Sides are in the order of their ids.
    asked, searched = (
        some[pc.sort_indices(films.keys.take(pa.array(some))).to_numpy()]
        for some in (wanted.asked, wanted.searched)
    )
    made = _Ranking(
        key,
        films.keys.take(pa.array(asked)),
        films.keys.take(pa.array(searched)),
        (_marks(films, asked), _marks(films, searched)),
        rows,
    )
    with _lock:
        _kept[:] = [made, *(one for one in _kept if one.key != key)][:_KEPT]
    again = _again(made, films, wanted)
    assert again is not None
    return again


def _again(one: _Ranking, films: _Films, wanted: _Wanted) -> Integers | None:
    """A kept ranking in places of these films; None where it is of others."""
    mine, theirs = (films.keys.take(pa.array(some)) for some in (wanted.asked, wanted.searched))
    at, into = pc.index_in(mine, one.asked), pc.index_in(theirs, one.searched)
    if at.null_count or into.null_count:
        return None
    passed = len(one.searched) - len(wanted.searched) + wanted.spare
    whole = one.rows.shape[1] + 1 >= len(one.searched)  # nothing is beyond it
    if passed > one.rows.shape[1] - wanted.depth and not whole:
        return None
    rows, numbers = (found.to_numpy().astype(np.int64) for found in (at, into))
    if (one.marks[0][:, rows] != _marks(films, wanted.asked)).any():
        return None
    if (one.marks[1][:, numbers] != _marks(films, wanted.searched)).any():
        return None
    place = np.full(len(one.searched) + 1, -1, np.int64)  # the last stands for no more
    place[numbers] = wanted.searched
    found = np.full((len(films.ids), one.rows.shape[1]), -1, np.int64)
    found[wanted.asked] = place[one.rows[rows]]
    return found


def _precision(
    films: _Films,
    state: _State,
    queries: Integers,
    searched: Integers,
    ranked: Integers,
    depths: list[int],
    rule: Rule,
    same_patient: SamePatient,
) -> tuple[Floats, _Units]:
    """Precision of the queries in one state, float64 (q, depths), in the order of their ids."""
    sides = _sides(films, queries, searched, state.labels, same_patient, vectors=False)
    number = {id_: row for row, id_ in enumerate(sides.gallery.ids)}
    row_of = np.full(len(films.ids) + 1, -1, np.int64)
    row_of[searched] = [number[films.ids[at]] for at in searched]
    places = {films.ids[at]: at for at in queries}
    order = np.asarray([places[id_] for id_ in sides.queries.ids], np.int64)
    rows = row_of[ranked[order]]  # -1 reads the last
    rows[ranked[order] < 0] = -1
    # Films that are in the other state alone are passed over, those behind move up.
    behind = np.argsort(rows < 0, axis=1, kind="stable")[:, : depths[-1]]
    rows = np.take_along_axis(rows, behind, axis=1)
    relevance = Relevance(sides, rule)
    found = np.empty((len(order), len(depths)))
    for start in range(0, len(order), 4096):
        block = slice(start, min(start + 4096, len(order)))
        some = Ranked(block, rows[block], np.zeros(rows[block].shape, np.float32))
        found[block] = measures.precision(relevance.gains(some), depths)
    return found, _Units(sides.units, sides.unit_kind)


def effect_sentence(found: Effect, k: int = 5) -> str:
    """The effect in a few words, e.g. ``P@5 +.011 [.004, .018]``."""
    depth = max((one for one in found.difference if one <= k), default=min(found.difference))
    low, high = found.ci95[depth]
    bounds = "" if np.isnan(low) else f" [{_short(low)}, {_short(high)}]"
    return f"P@{depth} {_signed(found.difference[depth])}{bounds}"


def _short(value: float) -> str:
    text = f"{abs(value):.3f}"
    return ("-" if value < 0 and float(text) else "") + (text[1:] if text[0] == "0" else text)


def _signed(value: float) -> str:
    text = _short(value)
    return text if text.startswith("-") else f"+{text}"
