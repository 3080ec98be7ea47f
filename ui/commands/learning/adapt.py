"""``cxr adapt``: a map that knows the labels of a gallery, on any encoder's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store import CxrError, UsageError, counted
from ui.commands import output
from ui.commands.evaluation.analysis import bar
from ui.commands.evaluation.evaluate import read_prompts
from ui.commands.options import Depths, Device, EncoderName, Json, Quiet, Store, depths

if TYPE_CHECKING:
    from ingest import Adaptation
    from ingest.encoders import Encoder
    from store import Gallery

#: Takes the place of a split's name: no such films.
_NONE = "none"
#: Usual names of the splits, where they are there.
_LEARN, _JUDGE, _TEST = ("train",), ("val", "valid", "validation"), ("test",)


def adapt(
    out: Annotated[Path, typer.Argument(help="Folder for the adapted encoder.")],
    store: Store,
    by: Annotated[
        str, typer.Option(help="Labels, or the column whose values are the classes.")
    ] = "labels",
    split: Annotated[
        str | None,
        typer.Option(help="Split to learn from, or all. Default: train, if there is one."),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            help="Split that judges, or none: folds of what is learnt from. Default: val, if there "
            "is one."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Split that is looked at when all is decided, or none. Default: test, if there is "
            "one."
        ),
    ] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Only maps that sentences can go through as well.")
    ] = False,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Sentences to measure before and after, as in cxr evaluate. Default: one for each "
            "label."
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            help="Also make the adapted gallery there, from stored vectors. With an OUT that was "
            "made before, do only that.",
            metavar="STORE",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    k: Depths = "1,3,5,10",
    encoder: EncoderName = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the gallery's encoder know its labels: learn a small map on the stored vectors.

    No film is opened. Candidates are compared on held-out films to learn from; the best is judged
    once on films that neither taught nor chose, patients kept apart, and refused unless its gain is
    surely above 0. OUT is an encoder for --encoder everywhere. Exits with 1 when it is refused.
    """
    from ingest import adapt as run
    from ingest import map_gallery
    from store import Gallery, check_free

    if into is not None:
        check_free(into)  # before minutes of learning
    gallery = Gallery.open(store)
    output.warn_if_synthetic(gallery)
    report = None
    if into is not None and (out / "adapter.json").is_file():
        output.say(f"{out} is there: it is used as it is")
    else:
        splits = gallery.facets()["split"]
        report = run(
            gallery,
            out,
            by=by,
            split=_split(split, splits, _LEARN, "all"),
            val=_split(val, splits, _JUDGE, _NONE),
            test=_split(test, splits, _TEST, _NONE),
            linear=linear,
            seed=seed,
            depths=depths(k),
            base=_base(gallery, encoder, device),
            prompts=[(one.text, one.label) for one in read_prompts(prompts)] if prompts else (),
            say=None if quiet else output.say,
        )
    mapped = None
    if into is not None and (report is None or report.accepted):
        with bar("rows", quiet) as progress:
            mapped = map_gallery(gallery, out, into, progress)
    if json:
        output.as_json(
            {
                **({} if report is None else report.as_dict()),
                "store": gallery.describe(),
                "into": None if mapped is None else mapped.describe(),
            }
        )
    elif report is not None:
        _print(report)
    if report is not None and not report.accepted:
        raise _Refused(report.verdict)
    if not json and mapped is not None:
        output.say(f"{counted(len(mapped), 'film')} in {mapped.uri}; encoder {mapped.stamp}")


class _Refused(CxrError):
    """Labels that do not help an encoder."""


def _split(
    asked: str | None, splits: dict[str, int], usual: tuple[str, ...], nothing: str
) -> str | None:
    """The split asked for, else one of the usual names that is there; None for none or all."""
    if asked is None:
        return next((name for name in usual if name in splits), None)
    if asked == nothing:
        return None
    if asked not in splits:
        raise UsageError(
            f"no split {asked!r} in this gallery; it has {', '.join(splits) or 'none'}, or say "
            f"{nothing}"
        )
    return asked


def _base(gallery: Gallery, name: str | None, device: str | None) -> Encoder | None:
    """The gallery's encoder; None, with a word, where it is not here."""
    from ingest.encoders import encoder_for

    try:
        return encoder_for(gallery, name, device=device)
    except CxrError as error:
        if name is not None:
            raise
        output.warn(f"sentences are not measured: {error}")
        return None


def _print(report: Adaptation) -> None:
    """Tables of what was learnt, judged and measured."""
    for reason, count in report.left_out.items():
        output.say(f"{counted(count, 'film')} left out: {reason}")
    output.table(
        ["candidate", "held-out score"],
        [[name, f"{score:.4f}"] for name, score in sorted(report.scores.items(), key=_last)],
        numbers=1,
    )
    for one in report.figures:
        rows = [
            [
                f"P@{k}",
                f"{one.before[k]:.4f}",
                f"{one.after[k]:.4f}",
                _gain(one.before, one.after, k),
                f"{one.ci95[k][0]:+.4f} to {one.ci95[k][1]:+.4f}",
            ]
            for k in one.before
        ]
        deepest = max(one.before)
        rows += [
            [
                f"P@{deepest} {label} ({found['queries']:,})",
                f"{found['before'][deepest]:.4f}",
                f"{found['after'][deepest]:.4f}",
                _gain(found["before"], found["after"], deepest),
                "",
            ]
            for label, found in one.per_label.items()
        ]
        head = f"{one.protocol}, {counted(one.queries, 'film')} of {one.films}"
        output.table([head, "before", "after", "gain", "95 % interval"], rows, numbers=4)
    if report.sentences is not None:
        output.table(
            ["average precision of sentences", "label", "before", "after"],
            [
                [one["text"], one["label"], f"{one['before']:.4f}", f"{one['after']:.4f}"]
                for one in report.sentences.prompts
            ],
            numbers=2,
        )
    if report.no_text is not None:
        output.warn(f"no sentences: {report.no_text}")
    if report.accepted:
        output.say(f"{report.folder}: {report.verdict}")


def _last(entry: tuple[str, float]) -> float:
    return -entry[1]


def _gain(before: dict[int, float], after: dict[int, float], k: int) -> str:
    return f"{after[k] - before[k]:+.4f}"
