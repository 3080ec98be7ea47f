"""Evaluation at another prevalence: galleries drawn so that a finding is rarer, or commoner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import BadQuery, UsageError
from store.evaluation.labelled import SamePatient
from store.evaluation.metrics import evaluate, plain
from store.evaluation.protocols import sides
from store.mirror.snapshot import Snapshot
from store.outcomes import findings_instead
from store.schema import Floats, Integers, Progress

if TYPE_CHECKING:
    from store.gallery import Gallery

#: Galleries that are drawn, and the seed of the first.
REPEATS, _SEED = 20, 20240917


@dataclass(frozen=True, slots=True)
class AtPrevalence:
    """Precision@k over galleries drawn to one prevalence of a finding.

    Attributes:
        finding: its name.
        prevalence: that was asked for, between 0 and 1.
        before: of the gallery as it is.
        gallery: films of a drawn gallery, and ``positive`` of them with the finding.
        queries: the same for every draw.
        repeats: galleries drawn.
        precision: k to ``mean``, ``sd``, ``least`` and ``greatest`` over the draws, all queries.
        per_label: the same of the queries with each label.
        chance: mean over the draws.
        store: see Gallery.describe.
    """

    finding: str
    prevalence: float
    before: float
    gallery: int
    positive: int
    queries: int
    repeats: int
    precision: Mapping[int, Mapping[str, float]]
    per_label: Mapping[str, Mapping[int, Mapping[str, float]]]
    chance: Mapping[int, float]
    store: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = plain({name: getattr(self, name) for name in self.__slots__})
        return found


def parse_prevalence(text: str) -> tuple[str, float]:
    """A finding and a share in ``pneumonia=.02``.

    Raises:
        UsageError: it is none, or the share is not between 0 and 1.
    """
    name, _, value = text.rpartition("=")
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not name or not 0 < share < 1:
        raise UsageError(f"--prevalence {text!r}: expected e.g. pneumonia=.02, between 0 and 1")
    return name, share


def at_prevalence(
    gallery: Gallery,
    finding: str,
    prevalence: float,
    protocol: str = "leave-one-out",
    k: Sequence[int] = (1, 3, 5, 10),
    *,
    split: str | None = "test",
    gallery_split: str = "train",
    dataset: str | None = None,
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> AtPrevalence:
    """Precision@k where a share of the films searched has a finding.

    Films with the finding, or those without it, are drawn without replacement; all the others stay.
    The queries stay as they are, so that figures of each label can be compared over prevalences.

    Args:
        gallery: with vectors in memory.
        finding: by its name in the gallery.
        prevalence: between 0 and 1.
        protocol: as Gallery.evaluate.
        k: depths.
        split: of the queries; None takes all rows (leave-one-out only).
        gallery_split: that is drawn from, in the split protocol.
        dataset: only rows of this data set.
        relevance: as Gallery.evaluate.
        same_patient: as Gallery.evaluate.
        repeats: galleries drawn, from seeds that are the same in every run.
        progress: called with draws done and in all.

    Raises:
        BadQuery: no film has the finding or all have it, or so few films would be left that a
            depth is out of reach.
    """
    gallery = gallery.pinned()

    def ask(now: Snapshot) -> AtPrevalence:
        queries, searched = sides(now, protocol, split, gallery_split, dataset, relevance)
        has = np.asarray([finding in labels for labels in searched.labels], bool)
        if not has.any():
            there = sorted({name for labels in searched.labels for name in labels})
            raise BadQuery(
                f"no film of the {len(has):,} searched has {finding!r}; they have "
                f"{findings_instead(finding, there)}"
            )
        wanted = _sizes(has, finding, prevalence)
        drawn = []
        for repeat in range(repeats):
            part = searched.part(_drawn(has, wanted, _SEED + repeat))
            drawn.append(
                evaluate(
                    protocol,
                    queries,
                    part,
                    k,
                    resamples=0,
                    full_ranking=False,
                    same_patient=same_patient,
                    relevance=relevance,
                )
            )
            if progress is not None:
                progress(repeat + 1, repeats)
        depths = list(drawn[0].precision)
        blind = [one.baselines["random"]["precision"] for one in drawn]
        return AtPrevalence(
            finding,
            prevalence,
            float(has.mean()),
            sum(wanted),
            wanted[0],
            drawn[0].queries,
            repeats,
            {at: _spread([one.precision[at] for one in drawn]) for at in depths},
            {
                label: {
                    at: _spread([one.per_label[label]["precision"][at] for one in drawn])
                    for at in depths
                }
                for label in drawn[0].per_label
            },
            {at: float(np.mean([one[at] for one in blind])) for at in depths},
            gallery.describe(),
        )

    return gallery.read_mirror("an evaluation at another prevalence", ask)


def _sizes(has: np.ndarray[Any, Any], finding: str, prevalence: float) -> tuple[int, int]:
    """How many films with the finding, and without it, a drawn gallery has."""
    with_it, without = int(has.sum()), int((~has).sum())
    if not without:
        raise BadQuery(f"every film of the {len(has):,} searched has {finding!r}; nothing to draw")
    if prevalence <= with_it / len(has):
        positive = round(without * prevalence / (1 - prevalence))
        negative = without
    else:
        positive = with_it
        negative = round(with_it * (1 - prevalence) / prevalence)
    if not positive or not negative:
        raise BadQuery(
            f"{finding} at {prevalence:g}: of {len(has):,} films none "
            f"{'without' if positive else 'with'} it would be left; choose a share nearer to "
            f"{with_it / len(has):.3f}"
        )
    return positive, negative


def _drawn(has: np.ndarray[Any, Any], sizes: tuple[int, int], seed: int) -> Integers:
    random = np.random.default_rng(seed)
    parts = [
        random.choice(np.flatnonzero(mask), size, replace=False)
        for mask, size in zip((has, ~has), sizes, strict=True)
    ]
    found: Integers = np.sort(np.concatenate(parts)).astype(np.int64)
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    found: Floats = np.asarray(values)
    return {
        "mean": float(found.mean()),
        "sd": float(found.std(ddof=1)) if len(found) > 1 else 0.0,
        "least": float(found.min()),
        "greatest": float(found.max()),
    }
