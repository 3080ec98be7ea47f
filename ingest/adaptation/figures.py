"""Figures of a map: Precision@k before and after it, film by film and sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.adaptation.films import Films
from ingest.encoders.adapted.vector_map import VectorMap
from store import LEAVE_ONE_OUT, SPLIT, Labelled, Vectors, bootstrap, per_query, score_prompts

_RESAMPLES = 2000
#: How far the average precision of sentences may fall before a map counts as spoiling them: their
#: mean, and that of the sentences of any one label.
TOLERANCE, TOLERANCE_OF_ONE = 0.01, 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """Precision@k of films before and after a map.

    Attributes:
        protocol: ``split`` (they query the films that were learnt from) or ``leave-one-out`` (they
            query each other).
        films: what they are: ``test``, or ``val`` of films that judged.
        queries: how many.
        before: k to the mean over queries.
        after: likewise.
        ci95: k to the 95 % bootstrap interval of the gain, over paired queries; by patient, or
            study, where these are known.
        per_label: label to {"queries": n, "before": {k: ..}, "after": {k: ..}}.
    """

    protocol: str
    films: str
    queries: int
    before: dict[int, float]
    after: dict[int, float]
    ci95: dict[int, tuple[float, float]]
    per_label: dict[str, dict[str, Any]]


def figures_of(
    made: VectorMap, films: Films, learnt: Films, name: str, depths: Sequence[int]
) -> list[Figures]:
    """Figures of films that the map was not learnt from, by both protocols.

    Args:
        made: the map.
        films: the queries.
        learnt: the films that the map was learnt from.
        name: what the queries are.
        depths: of Precision@k; those beyond what a query can find are left out.
    """
    asked, searched = made(films.vectors), made(learnt.vectors)
    return [
        _figures(
            SPLIT, name, depths, (films, films.vectors, asked), (learnt, learnt.vectors, searched)
        ),
        _figures(LEAVE_ONE_OUT, name, depths, (films, films.vectors, asked), None),
    ]


#: Films, their vectors, and these after the map.
Side = tuple[Films, Vectors, Vectors]


def _figures(
    protocol: str, name: str, depths: Sequence[int], queries: Side, gallery: Side | None
) -> Figures:
    films, searched = queries[0], (gallery or queries)[0]
    reach = len(searched) - int(np.bincount(searched.group_numbers).max())
    depths = [k for k in depths if k <= reach]
    found = []
    for which in (1, 2):
        asked: Labelled = films.labelled(queries[which])  # type: ignore[arg-type]
        rows = asked if gallery is None else searched.labelled(gallery[which])  # type: ignore[arg-type]
        found.append(per_query.by_query(asked, rows, depths).precision)
    before, after = found
    groups = films.group_numbers

    def means(values: Any) -> dict[int, float]:
        return dict(zip(depths, values.mean(axis=0).tolist(), strict=True))

    per_label = {}
    for label in sorted({name for row in films.labels for name in row}):
        chosen = np.asarray([label in row for row in films.labels])
        per_label[label] = {
            "queries": int(chosen.sum()),
            "before": means(before[chosen]),
            "after": means(after[chosen]),
        }
    return Figures(
        protocol,
        name,
        len(films),
        means(before),
        means(after),
        bootstrap(after - before, list(depths), _RESAMPLES, groups),
        per_label,
    )


@dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences before and after a linear map, over films that it was not learnt from.

    Attributes:
        prompts: of each its text, label, and average precision before and after.
        before: mean average precision.
        after: likewise.
    """

    prompts: list[dict[str, Any]]
    before: float
    after: float

    @property
    def spoilt(self) -> bool:
        """Whether the map makes them worse, or those of one label much worse."""
        falls = {
            label: float(
                np.mean([p["before"] - p["after"] for p in self.prompts if p["label"] == label])
            )
            for label in {one["label"] for one in self.prompts}
        }
        worst = max(falls.values())
        return self.before - self.after > TOLERANCE or worst > TOLERANCE_OF_ONE


def sentences_of(
    made: VectorMap, texts: Sequence[tuple[str, str]], vectors: Vectors, films: Films
) -> Sentences | None:
    """Measure sentences; None where none of them is about these films.

    Args:
        made: a linear map.
        texts: each with the label that it describes.
        vectors: float32 (n, d) of them, by the base.
        films: that the map was not learnt from.
    """
    known = {name for row in films.labels for name in row}
    places = [place for place, (_, label) in enumerate(texts) if label in known]
    if not places:
        return None
    labels = [texts[place][1] for place in places]
    scores = [
        score_prompts(asked, labels, films.labelled(rows), 1)
        for asked, rows in (
            (vectors[places], films.vectors),
            (made(vectors[places]), made(films.vectors)),
        )
    ]
    prompts = [
        {
            "text": texts[place][0],
            "label": texts[place][1],
            "before": before.average_precision,
            "after": after.average_precision,
        }
        for place, before, after in zip(places, *scores, strict=True)
    ]
    means = [float(np.mean([one[when] for one in prompts])) for when in ("before", "after")]
    return Sentences(prompts, means[0], means[1])


def prompts_about(films: Films, by: str | None) -> list[tuple[str, str]]:
    """A sentence for each label of some films, as ``cxr classify`` words them.

    Args:
        films: with labels.
        by: the column that they come from; None where they are findings.
    """
    names = sorted({name for row in films.labels for name in row})
    if by is not None:
        return [(f"a chest radiograph, {by} {name}", name) for name in names]
    return [
        (
            f"a {name} chest radiograph" if name == "normal" else f"a chest radiograph with {name}",
            name,
        )
        for name in names
    ]
