"""Choice of a map among the candidates, and the decision whether it is better than none.

Who chooses never decides: candidates are compared on films that they did not learn from, held out
of those to learn from; the one chosen is then judged once, on films that neither learnt nor chose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ingest.adaptation.candidates import CANDIDATES, IDENTITY, Fit, Sample
from ingest.adaptation.films import Films
from ingest.adaptation.folds import folds_of
from ingest.adaptation.judging import Found, Gain, gain, look
from ingest.encoders.adapted.vector_map import VectorMap
from store import BadQuery, Floats, Integers

#: Folds among which candidates are chosen, each held out once; of more films than this one fold is.
_CHOOSING, _MANY = 3, 2_000
#: Folds that judge where no split does; of more films than ``_MANY`` one fold does.
_JUDGING = 5
#: Queries that a candidate is compared by in a fold, and films that they search, at most.
_QUERIES, _SEARCHED = 2_000, 20_000
#: Fewer films, or patients, teach nothing that could be judged.
FEWEST = 20


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Map that was chosen.

    Attributes:
        name: of the candidate.
        map: learnt from all films that it may learn from.
        scores: candidate to the mean, over held-out films, of Precision@k and balanced agreement.
    """

    name: str
    map: VectorMap
    scores: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Verdict on the map that was chosen.

    Attributes:
        precision: gain in Precision@k.
        agreement: gain in the balanced agreement; see ingest.adaptation.judging.
        queries: films that were asked for.
        units: patients of them, or studies, or films where neither is known.
        by: ``split`` or ``folds``: who judged.
    """

    precision: Gain
    agreement: Gain
    queries: int
    units: int
    by: str

    @property
    def accepted(self) -> bool:
        """Whether both gains are surely above 0."""
        return self.precision.is_sure and self.agreement.is_sure


def choose(
    films: Films, seed: int, names: tuple[str, ...], say: Callable[[str], None] | None = None
) -> Chosen:
    """The candidate that is best on held-out folds, learnt from all the films.

    Args:
        films: to learn from.
        seed: of folds and candidates.
        names: of the candidates; the first of equals is taken.
        say: called with one line about each step.

    Raises:
        BadQuery: there is nothing to tell apart, or too little.
    """
    check_enough(films)
    fits = {name: CANDIDATES[name] for name in names}
    fold = folds_of(films, _CHOOSING, seed)
    used = range(_CHOOSING if len(films) <= _MANY else 1)
    found: dict[str, list[float]] = {}
    for number in used:
        rest = np.flatnonzero(fold != number)
        queries = films.part(_some(np.flatnonzero(fold == number), _QUERIES, seed))
        made = _fitted(films.part(rest), seed, fits)
        searched = films.part(_some(rest, _SEARCHED, seed))
        for name, one in made.items():
            score = look(queries, searched, one(queries.vectors), one(searched.vectors)).score
            found.setdefault(name, []).append(score)
            if say is not None:
                say(f"fold {number + 1} of {len(used)}, {name}: {score:.4f}")
    scores = {name: float(np.mean(one)) for name, one in found.items() if len(one) == len(used)}
    best = max(scores, key=scores.__getitem__)
    learnt = fits[best](Sample(films, seed))
    assert learnt is not None, "what a part of the films allows, all of them do"
    return Chosen(best, learnt, scores)


def _some(places: Integers, most: int, seed: int) -> Integers:
    """Places drawn at random where there are more than so many, ascending."""
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(seed).permutation(places)[:most])


def _fitted(films: Films, seed: int, fits: Mapping[str, Fit]) -> dict[str, VectorMap]:
    sample = Sample(films, seed)
    made = ((name, fit(sample)) for name, fit in fits.items())
    return {name: one for name, one in made if one is not None}


def check_enough(films: Films) -> None:
    """Refuse films that a map can neither be learnt from nor judged by, with BadQuery."""
    classes, patients = films.classes, len(set(films.group_numbers.tolist()))
    if len(classes) < 2:
        only = "; ".join(map(", ".join, classes)) or "no finding"
        raise BadQuery(
            f"all {len(films):,} films to learn from are labelled alike ({only}): there is nothing "
            "to tell apart. It takes films of two classes at least"
        )
    if patients < FEWEST:
        raise BadQuery(
            f"{len(films):,} labelled films of {patients:,} patient{'s' if patients != 1 else ''} "
            "are too few to learn from and to judge by: it takes films of "
            f"{FEWEST} patients at least; label more"
        )


def judge_by_split(chosen: Chosen, learn: Films, queries: Films) -> Verdict:
    """Judge a map by films that neither learnt nor chose it, searching those that it learnt from.

    Args:
        chosen: the map.
        learn: what it was learnt from.
        queries: of other patients.
    """
    before = look(queries, learn, queries.vectors, learn.vectors)
    after = look(queries, learn, chosen.map(queries.vectors), chosen.map(learn.vectors))
    return _verdict(before, after, queries, "split")


def judge_by_folds(
    films: Films, seed: int, names: tuple[str, ...], say: Callable[[str], None] | None = None
) -> Verdict:
    """Judge what choosing and learning give, by folds: each is asked of a map that never saw it.

    In each fold the choice is made anew among the other films, so that it is judged as well.

    Args:
        films: all that may be learnt from.
        seed: of folds and candidates.
        names: of the candidates.
        say: called with one line about each step.
    """
    check_enough(films)
    count = _judging(len(films))
    fold = folds_of(films, _JUDGING, seed + 1)
    parts: list[tuple[Films, Found, Found]] = []
    asked = np.flatnonzero(fold < count)
    everybody = films.part(asked)
    for number in range(count):
        if say is not None:
            say(f"judging fold {number + 1} of {count}")
        learn, queries = (
            films.part(np.flatnonzero(one)) for one in (fold != number, fold == number)
        )
        made = choose(learn, seed, names).map
        before = look(queries, learn, queries.vectors, learn.vectors, everybody)
        after = look(queries, learn, made(queries.vectors), made(learn.vectors), everybody)
        parts.append((queries, before, after))
    order = np.argsort(np.concatenate([np.flatnonzero(fold == n) for n in range(count)]))

    def joined(which: int, figure: str) -> Floats:
        found: Floats = np.concatenate([getattr(part[which], figure) for part in parts])[order]
        return found

    before, after = (Found(joined(i, "precision"), joined(i, "agreement")) for i in (1, 2))
    return _verdict(before, after, everybody, "folds")


def _judging(films: int) -> int:
    """How many of the folds of so many films judge."""
    return _JUDGING if films <= _MANY else 1


def judged_by_folds(films: int) -> int:
    """About how many of so many films to learn from judge, where folds do."""
    return films * _judging(films) // _JUDGING


def _verdict(before: Found, after: Found, queries: Films, by: str) -> Verdict:
    groups = queries.group_numbers
    return Verdict(
        gain(before.precision, after.precision, groups),
        gain(before.agreement, after.agreement, groups),
        len(queries),
        len(np.unique(groups)),
        by,
    )


__all__ = ["IDENTITY", "Chosen", "Verdict", "check_enough", "choose", "judge_by_folds"]
