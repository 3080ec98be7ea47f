"""Selective retrieval: how far signs of a good answer tell right answers from wrong ones.

A sign is a number of each query that is there before anybody judges its answer: how near its
nearest film is, how far its neighbours agree. Answers with a low sign are held back; the risk of
the others is drawn against their share, the coverage (risk-coverage curve; El-Yaniv and Wiener,
JMLR 11, 2010), and the area below is the AURC (Geifman, Uziel and El-Yaniv, ICLR 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery, NothingToMeasure
from store.evaluation import measures
from store.evaluation.intervals import bootstrap
from store.evaluation.labelled import SamePatient, Sides
from store.evaluation.metrics import plain
from store.evaluation.protocols import SPLIT, represented, sides
from store.evaluation.ranking import by_vectors
from store.evaluation.relevance import Relevance
from store.mirror.snapshot import Snapshot
from store.schema import Baseline, Floats, Integers

if TYPE_CHECKING:
    from store.gallery import Gallery

#: Names of the signs, in the order of a page.
NEAREST, PICTURE, AGREEMENT = "nearest film", "nearest picture", "neighbours agree"
_RESAMPLES = 2000
_SEED = 20240918
#: Points of a curve that are kept for JSON and figures.
_POINTS = 101


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Risk-coverage curve of one sign.

    Attributes:
        coverage: float64 (n,), shares of queries that are answered, ascending, above 0 to 1.
        risk: float64 (n,), mean risk of those answered.
        aurc: area below it; lower is better.
        chance: area where queries are held back blindly: the risk of all.
        best: area where those of the highest risk are held back first.
    """

    coverage: Floats
    risk: Floats
    aurc: float
    chance: float
    best: float


@dataclass(frozen=True, slots=True)
class Abstention:
    """Rule "hold the answer back where the sign is below a number", chosen and reported.

    Attributes:
        below: the number; None where no number reaches the precision on the choosing queries.
        wanted: mean Precision@k that was asked for.
        chosen: ``coverage`` and ``precision`` on the queries that chose it.
        reported: the same on the others, with ``ci95`` of the precision and ``queries`` answered.
    """

    below: float | None
    wanted: float
    chosen: Mapping[str, float]
    reported: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Selective:
    """Signs of a gallery's answers, measured.

    Attributes:
        k: depth.
        chosen_on, reported_on: which queries, in words.
        choosing, queries: how many of each.
        precision: mean Precision@k of all queries reported on.
        curves: sign to its curve there, of the risk 1 - P@k.
        vote_curves: the same of the risk that the majority vote of the k is wrong: the findings of
            most of them are not all of the query's and no others.
        rules: sign to its rule.
        store: see Gallery.describe.
    """

    k: int
    chosen_on: str
    reported_on: str
    choosing: int
    queries: int
    precision: float
    curves: Mapping[str, Curve]
    vote_curves: Mapping[str, Curve]
    rules: Mapping[str, Abstention]
    store: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types; curves at 101 points at most."""

        def curve(one: Curve) -> dict[str, Any]:
            at = np.unique(np.linspace(0, len(one.coverage) - 1, _POINTS).round().astype(int))
            return {
                "aurc": one.aurc,
                "chance": one.chance,
                "best": one.best,
                "coverage": one.coverage[at].tolist(),
                "risk": one.risk[at].tolist(),
            }

        found: dict[str, Any] = plain(
            {
                **{name: getattr(self, name) for name in self.__slots__},
                "curves": {name: curve(one) for name, one in self.curves.items()},
                "vote_curves": {name: curve(one) for name, one in self.vote_curves.items()},
                "rules": {
                    name: {part: getattr(one, part) for part in one.__slots__}
                    for name, one in self.rules.items()
                },
            }
        )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """Of each query: its signs, its risk, and its patient's number."""

    signs: Mapping[str, Floats]
    risk: Floats
    vote_risk: Floats
    units: Integers

    def part(self, kept: npt.NDArray[Any]) -> _Answers:
        return _Answers(
            {name: sign[kept] for name, sign in self.signs.items()},
            self.risk[kept],
            self.vote_risk[kept],
            self.units[kept],
        )


def risk_coverage(sign: npt.ArrayLike, risk: npt.ArrayLike) -> Curve:
    """The risk-coverage curve of a sign.

    Queries of equal signs are answered in any order: the curve is the mean over all orders.

    Args:
        sign: float (n,), higher where an answer is thought to be better.
        risk: float (n,), of each answer, 0 to 1.

    Raises:
        BadQuery: other lengths, none, or values that are not finite.
    """
    signs, risks = np.asarray(sign, np.float64), np.asarray(risk, np.float64)
    if signs.shape != risks.shape or signs.ndim != 1 or not len(signs):
        raise BadQuery(f"signs {signs.shape} and risks {risks.shape}: expected (n,) of each, n > 0")
    if not (np.isfinite(signs).all() and np.isfinite(risks).all()):
        raise BadQuery("signs and risks must be finite")
    answered = np.arange(1, len(signs) + 1)
    kinds, place, counts = np.unique(-signs, return_inverse=True, return_counts=True)
    means = np.bincount(place, risks, len(kinds)) / counts
    curve = np.cumsum(np.repeat(means, counts)) / answered
    best = np.cumsum(np.sort(risks)) / answered
    return Curve(
        answered / len(signs),
        curve,
        float(curve.mean()),
        float(risks.mean()),
        float(best.mean()),
    )


def threshold(sign: Floats, precision: Floats, wanted: float) -> float | None:
    """The lowest sign from which on the mean precision reaches what is wanted.

    Args:
        sign: float64 (n,).
        precision: float64 (n,), of each query.
        wanted: mean precision of the queries answered.

    Returns:
        The number; None where no set of the highest signs reaches it.
    """
    order = np.argsort(-sign, kind="stable")
    means = np.cumsum(precision[order]) / np.arange(1, len(sign) + 1)
    ends = np.append(np.diff(sign[order]) != 0, True)  # only between different signs
    reached = np.flatnonzero(ends & (means >= wanted - 1e-12))
    return float(sign[order][reached[-1]]) if len(reached) else None


def selective(
    gallery: Gallery,
    k: int = 5,
    *,
    choose_on: str | None = "val",
    split: str | None = "test",
    gallery_split: str = "train",
    dataset: str | None = None,
    wanted: float | None = None,
    describe: Baseline | None = None,
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
) -> Selective:
    """Measure how far the signs of a gallery's answers can be trusted.

    Rules are chosen on the queries of one split and reported on those of another, both searching
    ``gallery_split``. Where ``choose_on`` is None, the queries of ``split`` are halved by patient,
    drawn with a fixed seed, and one half chooses.

    Args:
        gallery: with vectors in memory.
        k: depth of Precision@k and of the vote.
        choose_on: split whose queries choose the rules; None halves those of ``split``.
        split: whose queries are reported.
        gallery_split: that is searched.
        dataset: only films of this data set.
        wanted: mean Precision@k of the answers given; None: half the risk of all.
        describe: thumbnails to float32 (n, m) unit rows, for the sign ``nearest picture``.
        relevance: as Gallery.evaluate.
        same_patient: as Gallery.evaluate.

    Raises:
        BadQuery: a split without labelled films, a k beyond the gallery.
        NothingToMeasure: too few queries to halve.
    """
    if wanted is not None and not 0 < wanted <= 1:
        raise BadQuery(f"a precision of {wanted:g} is wanted: expected more than 0, at most 1")

    gallery = gallery.pinned()

    def ask(now: Snapshot) -> Selective:
        def answers(of: str | None) -> _Answers:
            both = Sides.of(*sides(now, SPLIT, of, gallery_split, dataset, relevance), same_patient)
            return _answers(now, both, k, relevance, describe)

        reported = answers(split)
        if choose_on is None:
            first = _half(reported.units)
            choosing, reported = reported.part(first), reported.part(~first)
            names = f"half of {split}, by patient", f"the other half of {split}"
        else:
            choosing = answers(choose_on)
            names = choose_on, str(split)
        aim = 1 - choosing.risk.mean() / 2 if wanted is None else wanted
        return Selective(
            k,
            *names,
            len(choosing.risk),
            len(reported.risk),
            float(1 - reported.risk.mean()),
            {name: risk_coverage(one, reported.risk) for name, one in reported.signs.items()},
            {name: risk_coverage(one, reported.vote_risk) for name, one in reported.signs.items()},
            {name: _rule(name, choosing, reported, aim) for name in reported.signs},
            gallery.describe(),
        )

    return gallery.read_mirror("selective retrieval", ask)


def _answers(
    now: Snapshot, both: Sides, k: int, relevance: str, describe: Baseline | None
) -> _Answers:
    both.depths([k])
    judged = Relevance(both, relevance)
    n = len(both.queries.ids)
    nearest, risk = np.empty(n), np.empty(n)
    agreement, wrong = np.zeros(n), np.empty(n)
    for ranked in by_vectors(both, k):
        block = ranked.block
        nearest[block] = ranked.scores[:, 0]
        risk[block] = 1 - measures.precision(judged.gains(ranked), [k])[:, 0]
        voters = judged.voters(ranked)
        elected = measures.majority(voters, k)
        agreement[block] = (voters == elected[:, None]).mean(axis=1)
        wrong[block] = elected != judged.asked_class[block]
    found = {NEAREST: nearest}
    if describe is not None and (pictures := _nearest_pictures(now, both, describe)) is not None:
        found[PICTURE] = pictures
    return _Answers({**found, AGREEMENT: agreement}, risk, wrong, both.units)


def _nearest_pictures(now: Snapshot, both: Sides, describe: Baseline) -> Floats | None:
    """Cosine of each query's plain picture with the nearest one that it may find."""
    asking, searched = (represented(now, one, describe) for one in (both.queries, both.gallery))
    if asking is None or searched is None:
        return None
    pictures = Sides.of(asking, searched, both.same_patient)
    found = np.empty(len(both.queries.ids))
    for ranked in by_vectors(pictures, 1):
        found[ranked.block] = ranked.scores[:, 0]
    return found


def _half(units: Integers) -> npt.NDArray[np.bool_]:
    """Which queries are of the patients of the first half."""
    names, place = np.unique(units, return_inverse=True)
    if len(names) < 4:
        raise NothingToMeasure(
            f"{len(names)} patients are too few to choose on some and report on others"
        )
    order = np.random.default_rng(_SEED).permutation(len(names))
    first: npt.NDArray[np.bool_] = np.isin(place, order[: len(names) // 2])
    return first


def _rule(name: str, choosing: _Answers, reported: _Answers, wanted: float) -> Abstention:
    below = threshold(choosing.signs[name], 1 - choosing.risk, wanted)
    if below is None:
        return Abstention(None, wanted, {}, {})
    kept = choosing.signs[name] >= below
    given = reported.signs[name] >= below
    answered = 1 - reported.risk[given]
    found: dict[str, Any] = {"queries": int(given.sum()), "coverage": float(given.mean())}
    if len(answered):
        units = reported.units[given]
        found["precision"] = float(answered.mean())
        found["ci95"] = bootstrap(answered[:, None], [0], _RESAMPLES, units)[0]
    else:
        found |= {"precision": math.nan, "ci95": (math.nan, math.nan)}
    chosen = {"coverage": float(kept.mean()), "precision": float(1 - choosing.risk[kept].mean())}
    return Abstention(below, wanted, chosen, found)
