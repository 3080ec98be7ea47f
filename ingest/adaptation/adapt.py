"""Adaptation of an encoder to the labels of a gallery: learn, judge, measure, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.adaptation.candidates import CANDIDATES, IDENTITY, LINEAR, Sample
from ingest.adaptation.choice import (
    Chosen,
    Verdict,
    choose,
    judge_by_folds,
    judge_by_split,
    judged_by_folds,
)
from ingest.adaptation.figures import (
    Figures,
    Sentences,
    figures_of,
    prompts_about,
    sentences_of,
)
from ingest.adaptation.films import LABELS, Films, parts_of
from ingest.adaptation.folds import folds_of
from ingest.adaptation.judging import CONFIDENCE, Gain, depth_for
from ingest.encoders.adapted.files import CARD, write_adapter
from ingest.encoders.card import card_of
from ingest.encoders.locate import KEY, as_entries, seen_in_training
from store import UsageError, counted

if TYPE_CHECKING:
    from ingest.encoders.encoder import Encoder
    from store import Gallery

#: Written into every card.
USE = (
    "Research and education only, never diagnosis. The map learnt the labels of the films named "
    "here, with their mistakes and habits; on films of another kind it may be worse than its base."
)
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Report of an adaptation.

    Attributes:
        folder: of the encoder; None where none was written.
        accepted: whether the gain is surely above 0 on films that neither learnt nor chose.
        candidate: the one chosen.
        linear: whether sentences can go through it.
        scores: candidate to its mean score on held-out films.
        films: how many played which part, ``learn``, ``val`` and ``test``, and how many patients
            (or studies, or films where neither is known) they are.
        left_out: how many films played none, by reason.
        classes: set of findings to its number of films to learn from, the most frequent first.
        judged: precision and balanced agreement before and after, with intervals, k and who judged.
        figures: Precision@k of films that were not learnt from; none when it was refused.
        sentences: before and after; None where the base reads none, or the map is not linear.
        no_text: why sentences do not go through it, in one clause; else None.
        by: ``labels``, or the column of the classes.
        seed: of all that was drawn.
    """

    folder: Path | None
    accepted: bool
    candidate: str
    linear: bool
    scores: dict[str, float]
    films: dict[str, dict[str, int]]
    left_out: dict[str, int]
    classes: dict[str, int]
    judged: dict[str, Any]
    by: str
    seed: int
    figures: list[Figures] = field(default_factory=list)
    sentences: Sentences | None = None
    no_text: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        found = asdict(self)
        found["folder"] = None if self.folder is None else str(self.folder)
        for one in found["figures"]:
            for name in ("before", "after", "ci95"):
                one[name] = {str(k): value for k, value in one[name].items()}
            for row in one["per_label"].values():
                row.update({n: {str(k): v for k, v in row[n].items()} for n in ("before", "after")})
        return found

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        gain = self.judged["precision"]
        low, high = gain["interval"]
        what = (
            f"P@{self.judged['k']} {gain['before']:.4f} to {gain['after']:.4f}, gain "
            f"{gain['after'] - gain['before']:+.4f} [{low:+.4f}, {high:+.4f}]; balanced "
            f"agreement gain {_signed(self.judged['agreement'])}"
        )
        over = f"{self.judged['queries']:,} films that neither taught nor chose"
        if self.accepted:
            return f"“{self.candidate}” helps: {what}, over {over}"
        if self.candidate == IDENTITY:
            return f"these labels do not help this encoder: no map is better than none on {over}"
        return (
            f"these labels do not help this encoder: {what}, over {over}; both lower bounds must "
            f"be above 0{self._judge_instead}"
        )

    @property
    def _judge_instead(self) -> str:
        """The way to more films that judge, where folds would have more than the split has."""
        more = judged_by_folds(self.films["learn"]["films"])
        if self.judged["by"] != "split" or more <= self.judged["queries"]:
            return ""
        return (
            f". {counted(self.judged['queries'], 'film')} may be too few to be sure: with --val "
            f"none, folds judge, about {more:,} of the films to learn from"
        )


def _signed(gain: dict[str, Any]) -> str:
    low, high = gain["interval"]
    return f"{gain['after'] - gain['before']:+.4f} [{low:+.4f}, {high:+.4f}]"


def adapt(
    gallery: Gallery,
    out: str | Path,
    *,
    by: str = LABELS,
    split: str | None = None,
    val: str | None = None,
    test: str | None = None,
    linear: bool = False,
    seed: int = 0,
    depths: Sequence[int] = (1, 3, 5, 10),
    base: Encoder | None = None,
    prompts: Sequence[tuple[str, str]] = (),
    say: Callable[[str], None] | None = None,
) -> Adaptation:
    """Learn a map on a gallery's vectors that knows its labels, and write it as an encoder.

    Args:
        gallery: with its vectors in memory.
        out: folder for the encoder; nothing is written where the map is refused.
        by: ``labels``, or a column whose values are the classes.
        split: of the films to learn from; None: all but those of ``val`` and ``test``.
        val: split of the films that judge; None: folds of those to learn from.
        test: split of the films to be looked at when all is decided; None: none.
        linear: choose among linear maps only, which sentences can go through as well.
        seed: of all that is drawn.
        depths: of the Precision@k of the report.
        base: the gallery's encoder, for its sentences; None where it is not here.
        prompts: sentences to measure, each with the label it describes; one for each label when
            empty.
        say: called with one line about each step.

    Raises:
        UsageError: ``out`` holds an encoder already; one split in two parts; no classes.
        BadQuery: too few labelled films, or nothing to tell apart.
    """
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()):
        what = "an adapted encoder" if (folder / CARD).is_file() else "files"
        raise UsageError(f"{folder} holds {what} already; remove it, or name another folder")
    parts = parts_of(gallery, by, split, val, test)
    names = LINEAR if linear else tuple(CANDIDATES)
    chosen = choose(parts.learn, seed, names, say)
    if parts.judge is not None:
        verdict = judge_by_split(chosen, parts.learn, parts.judge)
    else:
        verdict = judge_by_folds(parts.learn, seed, names, say)
    report = Adaptation(
        folder=None,
        accepted=verdict.accepted and chosen.name != IDENTITY,
        candidate=chosen.name,
        linear=chosen.map.is_linear,
        scores=chosen.scores,
        films={
            name: {"films": len(films), "patients": len(set(films.group_numbers.tolist()))}
            for name, films in (("learn", parts.learn), ("val", parts.judge), ("test", parts.test))
            if films is not None
        },
        left_out=parts.left_out,
        classes={
            ", ".join(found) or "no finding": count
            for found, count in parts.learn.classes.most_common(50)
        },
        judged=_judged(verdict, len(parts.learn)),
        by=by,
        seed=seed,
    )
    if not report.accepted:
        return report
    sentences, no_text = _sentences(chosen, parts.learn, parts.judge, base, by, prompts, seed)
    looked = parts.test or parts.judge
    figures = []
    if looked is not None:
        name = "test" if parts.test is not None else "val"
        figures = figures_of(chosen.map, looked, parts.learn, name, depths)
    report = Adaptation(
        **{name: getattr(report, name) for name in report.__slots__ if name not in _LATER},
        folder=folder,
        figures=figures,
        sentences=sentences,
        no_text=no_text,
    )
    _write(report, gallery, folder, chosen, parts.learn, base)
    return report


_LATER = ("folder", "figures", "sentences", "no_text")


def _judged(verdict: Verdict, searched: int) -> dict[str, Any]:
    def entry(gain: Gain) -> dict[str, Any]:
        return {"before": gain.before, "after": gain.after, "interval": gain.interval}

    return {
        "by": verdict.by,
        "k": depth_for(searched),
        "queries": verdict.queries,
        "units": verdict.units,
        "confidence": CONFIDENCE,
        "precision": entry(verdict.precision),
        "agreement": entry(verdict.agreement),
    }


def _sentences(
    chosen: Chosen,
    learn: Films,
    judge: Films | None,
    base: Encoder | None,
    by: str,
    prompts: Sequence[tuple[str, str]],
    seed: int,
) -> tuple[Sentences | None, str | None]:
    """Sentences before and after, and why they do not go through the map if they do not."""
    if base is None:
        return None, "its base was not here to read sentences when the map was learnt"
    if not base.supports_text:
        return None, None
    if not chosen.map.is_linear:
        return None, (
            f"its map ({chosen.name}) is not linear, and was learnt from films alone; one for "
            "sentences as well is made with: cxr adapt --linear"
        )
    made, films = chosen.map, judge
    if films is None:  # a map that did not see the films by which sentences are measured
        held = folds_of(learn, _FOLDS, seed) == 0
        films = learn.part(np.flatnonzero(held))
        rest = CANDIDATES[chosen.name](Sample(learn.part(np.flatnonzero(~held)), seed))
        made = rest if rest is not None else made
    texts = list(prompts) or prompts_about(films, None if by == LABELS else by)
    found = sentences_of(made, texts, base.encode_texts([text for text, _ in texts]), films)
    if found is None:
        return None, "no sentence about these films was there to be measured"
    if found.spoilt:
        return found, (
            "its map spoils sentences, those of one label at least: "
            f"mean average precision {found.before:.4f} without it, {found.after:.4f} with it; "
            "sentence by sentence in its card"
        )
    return found, None


def _write(
    report: Adaptation,
    gallery: Gallery,
    folder: Path,
    chosen: Chosen,
    learn: Films,
    base: Encoder | None,
) -> None:
    rows = gallery.rows(learn.ids)
    splits = {(row.dataset or "unnamed", row.split or "all") for row in rows.values()}
    before = seen_in_training(base.folder) if base is not None else frozenset()
    licence = card_of(gallery.stamp.name, base).licence or "unknown"
    card = {
        **{key: value for key, value in report.as_dict().items() if key != "folder"},
        "use": USE,
        "licence": f"of the base: {licence}; of the map: that of the films it learnt from",
        "learnt_from": {"store": gallery.uri, "splits": as_entries(splits)},
        "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    training = {KEY: as_entries(splits | before), "kind": "a map on the vectors of another encoder"}
    write_adapter(folder, gallery.stamp, chosen.map, card, training)
