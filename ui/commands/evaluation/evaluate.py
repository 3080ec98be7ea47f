"""``cxr evaluate`` and ``cxr export``: Precision@k of films, sentences or reports; artefacts."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import EncoderMismatch, EncoderUnavailable, UsageError, counted, expanded
from ui import notices, paper, tables
from ui.commands import output
from ui.commands.evaluation.reports import measure_reports, print_reports, text_encoder
from ui.commands.evaluation.trust import print_pack, print_prevalence
from ui.commands.options import (
    Depths,
    Device,
    EncoderName,
    GallerySplit,
    Index,
    Json,
    OneDataset,
    OnLost,
    QuerySplit,
    Quiet,
    SamePatientFilms,
    Shards,
    ShardsRay,
    Store,
    depths,
    same_patient_films,
)
from ui.opening import open_gallery
from ui.paper import check_format
from ui.tables import definitions

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Evaluation, Gallery, SamePatient

_films = partial(typer.Option, rich_help_panel="Films as a data set")
CHOOSING = "sentences"
#: Files of the package: the prompt set, and the sentences that chose the bundled text tower.
BUNDLED = {"bundled": "prompts.csv", CHOOSING: "sentences.csv"}


def evaluate(
    store: Store,
    protocol: Annotated[str, typer.Option(help="leave-one-out, split, or both.")] = "both",
    split: QuerySplit = None,
    gallery_split: GallerySplit = "train",
    dataset: OneDataset = None,
    k: Depths = "1,3,5,10",
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Score sentences instead: a CSV or JSON file with text and label, bundled, or "
            "sentences (those that chose the bundled text tower; over split val)."
        ),
    ] = None,
    queries: Annotated[
        str,
        typer.Option(
            help="films, or reports: search by the reports of films, in words, by vectors and by "
            "both, and by films for their own report. Leave-one-out."
        ),
    ] = "films",
    most: Annotated[
        int, typer.Option(help="Reports that search, at most; drawn evenly by a fixed seed.")
    ] = 1000,
    fusion: Annotated[
        str, typer.Option(help="Of words and vectors: rrf, or the weight of the words, 0 to 1.")
    ] = "rrf",
    no_map: Annotated[
        bool,
        typer.Option(
            "--no-map", help="Leave out mAP, which ranks the whole gallery: quicker on large ones."
        ),
    ] = False,
    relevance: Annotated[
        str,
        typer.Option(
            help="Films that count as relevant to a query: any (they share a finding), all (they "
            "have all of its findings), jaccard (graded by shared findings) or finding=NAME."
        ),
    ] = "any",
    same_patient: SamePatientFilms = "exclude",
    pack: Annotated[
        str | None,
        typer.Option(help="Measure by the protocol of a paper, beside its figures: mahbod."),
    ] = None,
    prevalence: Annotated[
        str | None,
        typer.Option(
            help="FINDING=SHARE, e.g. pneumonia=.02: draw films searched until so many have it, "
            "20 times; mean and spread."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Print the table as md, csv or latex, for a paper."),
    ] = None,
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    json: Json = False,
) -> None:
    """Precision@k with intervals, beside the random and the raw-pixel floors, and other measures.

    Each measure is defined in docs/measures.md. Films in which nothing was found take part, films
    that nobody looked at do not; whatever is left out is counted. Films of the query's own patient,
    or study where only that is known, are not in its ranking, and intervals resample patients.

    With both protocols, --json prints the leave-one-out document, and the split one under
    "split". With --prompts: P@10 and average precision of each sentence. With --queries reports:
    words, vectors and both over the same queries, and their differences. With --index lance there
    is no mAP and no raw-pixel floor, which take the whole gallery in memory.
    """
    if protocol not in ("both", "leave-one-out", "split"):
        raise UsageError(f"--protocol {protocol!r}: expected leave-one-out, split or both")
    if queries not in ("films", "reports"):
        raise UsageError(f"--queries {queries!r}: expected films or reports")
    if queries == "reports" and (protocol == "split" or prompts is not None):
        other = "--prompts" if prompts is not None else "--protocol split"
        raise UsageError(f"--queries reports is leave-one-out and goes without {other}")
    counted = same_patient_films(same_patient)
    if form is not None:
        check_format(form)
        if json or pack or prevalence or prompts:
            raise UsageError("--format goes without --json, --pack, --prevalence and --prompts")
    if sum(one is not None for one in (pack, prevalence, prompts)) > 1:
        raise UsageError("give one of --pack, --prevalence and --prompts")
    gallery = open_gallery(store, index, shards, ray, on_lost)
    output.warn_if_synthetic(gallery)
    output.say_if_inexact(gallery)
    if pack is not None:
        _evaluate_pack(gallery, pack, dataset, json)
        return
    if prevalence is not None:
        given = protocol, split, gallery_split, dataset, depths(k), relevance, counted
        _evaluate_prevalence(gallery, prevalence, *given, json=json)
        return
    if prompts is not None:
        from ingest.encoders import encoder_for

        asked = read_prompts(prompts)
        if prompts == CHOOSING and split is None:
            split = "val"  # where they chose; scoring them on test would be one more look at it
        scored = evaluate_prompts(
            gallery, encoder_for(gallery, encoder, device=device), asked, split, dataset
        )
        if json:
            output.as_json(scored)
        else:
            _print_prompts(scored)
        return
    if queries == "reports":
        model = text_encoder(gallery, encoder, device)
        by_reports = measure_reports(
            gallery, model, split, dataset, depths(k), relevance, counted, most, fusion
        )
        if json:
            output.as_json(by_reports.as_dict())
        else:
            print_reports(by_reports)
        return
    found = measure(
        gallery,
        protocol,
        split,
        gallery_split,
        dataset,
        depths(k),
        not no_map,
        relevance,
        counted,
    )
    for one in found:
        for notice in (notices.of_patients, notices.of_raw_pixels):
            if (warning := notice(one.as_dict())) is not None:
                output.warn(warning)
    if form is not None:
        _print_formatted(form, [one.as_dict() for one in found])
    elif json:
        first, *rest = (one.as_dict() for one in found)
        output.as_json({**first, **{one["protocol"]: one for one in rest}})
    else:
        output.evaluations(found)


def _print_formatted(form: str, found: list[dict[str, Any]]) -> None:
    if form == "csv":
        from ingest import csv_bytes

        typer.echo(csv_bytes(*paper.evaluation_sheet(found)).decode(), nl=False)
        return
    head, rows = paper.evaluation_table(found)
    said = [line for line in definitions(found[0]) if line]
    if form == "latex":
        typer.echo(paper.latex(head, rows, said))
        return
    typer.echo(paper.markdown(head, rows))
    typer.echo("\n" + "\n".join(f"{line}." for line in said))


def _evaluate_pack(gallery: Gallery, name: str, dataset: str | None, json: bool) -> None:
    from ingest import card_of
    from store import measure_pack
    from ui.encoder_facts import found_encoder

    found = measure_pack(gallery, name, dataset)
    card = card_of(gallery.stamp.name, found_encoder(gallery))
    learnt = card.saw(found.dataset, found.pack.gallery_split)
    if json:
        output.as_json({**found.as_dict(), "learnt_from_these": learnt})
    else:
        print_pack(found, learnt)


def _evaluate_prevalence(
    gallery: Gallery,
    asked: str,
    protocol: str,
    split: str | None,
    gallery_split: str,
    dataset: str | None,
    k: list[int],
    relevance: str,
    same_patient: SamePatient,
    *,
    json: bool,
) -> None:
    from store import LEAVE_ONE_OUT, SPLIT, at_prevalence, parse_prevalence

    finding, share = parse_prevalence(asked)
    splits = gallery.facets()["split"]
    queries = split or ("test" if "test" in splits else "all")
    if protocol == "both":  # the films searched are drawn: best of a split that does not ask
        protocol = SPLIT if queries != "all" and gallery_split in splits else LEAVE_ONE_OUT
        output.say(f"protocol {protocol}: --protocol says otherwise")
    found = at_prevalence(
        gallery,
        finding,
        share,
        protocol,
        k,
        split=None if queries == "all" else queries,
        gallery_split=gallery_split,
        dataset=dataset,
        relevance=relevance,
        same_patient=same_patient,
    )
    if json:
        output.as_json({"protocol": protocol, **found.as_dict()})
    else:
        print_prevalence(found)


def measure(
    gallery: Gallery,
    protocol: str = "both",
    split: str | None = None,
    gallery_split: str = "train",
    dataset: str | None = None,
    k: list[int] | None = None,
    full_ranking: bool = True,
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
) -> list[Evaluation]:
    """Evaluations of a gallery by one protocol or both; notes on stderr what is left out."""
    from ingest import BASELINES

    splits = gallery.facets()["split"]
    if split is None:
        split = "test" if "test" in splits else "all"
        if split == "all":
            output.say("no split named test here: every labelled row is a query")
    wanted = ["leave-one-out", "split"] if protocol == "both" else [protocol]
    if protocol == "both" and (split == "all" or gallery_split not in splits):
        output.say(f"no split protocol: it needs queries and a split named {gallery_split}")
        wanted = ["leave-one-out"]
    return [
        gallery.evaluate(
            one,
            k or (1, 3, 5, 10),
            split=None if split == "all" else split,
            gallery_split=gallery_split,
            dataset=dataset,
            baselines=BASELINES,
            full_ranking=full_ranking,
            relevance=relevance,
            same_patient=same_patient,
        )
        for one in wanted
    ]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Sentence to be scored, with the label it describes.

    Attributes:
        text: the sentence.
        label: the finding it describes.
        held_out: whether training never met it; None when unknown.
    """

    text: str
    label: str
    held_out: bool | None = None


def read_prompts(place: str) -> list[Prompt]:
    """Prompts of a CSV or JSON file with text, label and, if known, held_out.

    Raises:
        UsageError: no such file, or not such a file; says which row.
    """
    import ingest

    path = expanded(place)
    if place in BUNDLED:
        path = Path(str(ingest.__file__)).parent / "training" / BUNDLED[place]
    try:
        content = path.read_text("utf-8-sig")
        table = csv.DictReader(io.StringIO(content))
        rows = json.loads(content) if path.suffix == ".json" else list(table)
    except OSError as error:
        raise UsageError(f"--prompts {place}: {error.strerror}; pass a CSV or JSON file") from error
    except ValueError as error:
        raise UsageError(f"--prompts {place} is not UTF-8 text, or not JSON: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"--prompts {place} holds no rows; expected columns text, label, held_out")
    return [_prompt(place, number, row) for number, row in enumerate(rows, start=1)]


def _prompt(place: str, number: int, row: Any) -> Prompt:
    text, label = (
        str(row.get(name) or "").strip() if isinstance(row, dict) else ""
        for name in ("text", "label")
    )
    if not text or not label:
        raise UsageError(f"--prompts {place}, row {number}: expected a text and a label")
    held_out = row.get("held_out")
    if held_out is None or str(held_out).strip() == "":
        return Prompt(text, label)
    return Prompt(text, label, str(held_out).strip().lower() in ("yes", "true", "1"))


def evaluate_prompts(
    gallery: Gallery,
    encoder: Encoder,
    prompts: list[Prompt],
    split: str | None = None,
    dataset: str | None = None,
    k: int = 10,
) -> dict[str, Any]:
    """Precision@k and average precision of each prompt, with means over all and over parts.

    Every labelled film takes part, but for the sentences of a finding that is uncertain in it.

    Args:
        gallery: searched.
        encoder: the one that made it.
        prompts: what is asked.
        split: only films of this split; ``all`` for all; default: test, if there is one.
        dataset: only films of this data set.
        k: depth.
    """
    from store import LEFT_OUT, Labelled, Where, findings, score_prompts

    if split is None:
        split = "test" if "test" in gallery.facets()["split"] else "all"
    where = Where(split=() if split == "all" else (split,), dataset=(dataset,) if dataset else ())
    rows = gallery.rows(gallery.ids(where))
    left_out = Counter(LEFT_OUT[row.outcome] for row in rows.values() if row.outcome in LEFT_OUT)
    ids = [id_ for id_, row in rows.items() if row.outcome not in LEFT_OUT]
    films = Labelled(ids, gallery.vectors(ids), [findings(rows[id_].labels) for id_ in ids])
    unsure = [rows[id_].uncertain for id_ in ids]
    vectors = encoder.encode_texts([prompt.text for prompt in prompts])
    scores = score_prompts(vectors, [prompt.label for prompt in prompts], films, k, unsure)
    found = [
        {
            "text": prompt.text,
            "label": prompt.label,
            "held_out": prompt.held_out,
            "precision": score.precision,
            "average_precision": score.average_precision,
            "understood": encoder.understands(prompt.text).understood,
        }
        for prompt, score in zip(prompts, scores, strict=True)
    ]
    parts = {
        "all": found,
        "held_out": [one for one in found if one["held_out"] is True],
        "trained": [one for one in found if one["held_out"] is False],
        **{
            label: [one for one in found if one["label"] == label]
            for label in sorted({prompt.label for prompt in prompts})
        },
    }
    return {
        "k": k,
        "split": split,
        "gallery": len(ids),
        "left_out": dict(left_out),
        "overall": {name: _means(part) for name, part in parts.items() if part},
        "prompts": found,
        "store": gallery.describe(),
    }


def _means(part: list[dict[str, Any]]) -> dict[str, Any]:
    precision = [one["precision"] for one in part]
    average = [one["average_precision"] for one in part]
    judged = [one["understood"] for one in part if one["understood"] is not None]
    return {
        "prompts": len(part),
        "precision": sum(precision) / len(part),
        "average_precision": sum(average) / len(part),
        "lowest_precision": min(precision),
        "understood": sum(judged) / len(judged) if judged else None,
    }


def _print_prompts(found: dict[str, Any]) -> None:
    """Print tables of the prompts, the worst last, and of the means."""
    ranked = sorted(
        found["prompts"], key=lambda one: (-one["precision"], -one["average_precision"])
    )
    depth = f"P@{found['k']}"
    output.table(
        ["prompt", "label", "held out", "understood", depth, "AP"],
        [
            [
                one["text"],
                one["label"],
                _yes(one["held_out"]),
                _yes(one["understood"]),
                f"{one['precision']:.2f}",
                f"{one['average_precision']:.4f}",
            ]
            for one in ranked
        ],
        numbers=2,
    )
    output.table(
        [
            f"over {counted(found['gallery'], 'film')} of {found['split']}",
            "prompts",
            "understood",
            f"lowest {depth}",
            f"mean {depth}",
            "mean AP",
        ],
        [
            [
                name.replace("_", " "),
                str(part["prompts"]),
                "" if part["understood"] is None else f"{part['understood']:.3f}",
                f"{part['lowest_precision']:.2f}",
                f"{part['precision']:.4f}",
                f"{part['average_precision']:.4f}",
            ]
            for name, part in found["overall"].items()
        ],
        numbers=5,
    )
    if found["left_out"]:
        output.say(f"films left out: {tables.left_out(found['left_out'])}")


def _yes(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def export(
    folder: Annotated[Path, typer.Argument(help="Where the artefacts go, e.g. task3_outputs.")],
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    k: Depths = "1,3,5,10",
    films: Annotated[
        str | None,
        _films(
            help="Write films instead, into a new folder: hf (Parquet with the pictures in it) or "
            "csv (an image folder); both for datasets.load_dataset, and for cxr ingest hf.",
            metavar="hf|csv",
        ),
    ] = None,
    where: Annotated[
        list[str] | None, _films(help="Only films with KEY=VALUE, as in cxr search. Repeat.")
    ] = None,
    id_: Annotated[list[str] | None, _films("--id", help="Only these films. Repeat.")] = None,
    tag: Annotated[list[str] | None, _films(help="Only films with this tag. Repeat.")] = None,
    pictures: Annotated[
        str,
        _films(
            help="thumbnails, or originals: the bytes of each film's own file; of DICOM the "
            "pixels alone, as PNG."
        ),
    ] = "thumbnails",
    with_reports: Annotated[
        bool,
        typer.Option(
            "--with-reports", help="Also write the reports of films, to meta.json or the data set."
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write embeddings, labels, ids, the FAISS index, figures and the report; or films."""
    from ingest.encoders import encoder_for
    from store import Gallery

    if films is None and (where or id_ or tag or pictures != "thumbnails"):
        raise UsageError("--where, --id, --tag and --pictures go with --films")
    gallery = Gallery.open(store)
    output.warn_if_synthetic(gallery)
    if films is not None:
        conditions = [*(where or []), *(f"tag={one}" for one in tag or [])]
        _export_films(gallery, folder, films, conditions, id_, pictures, with_reports, json, quiet)
        return
    model = None
    try:
        model = encoder_for(gallery, encoder, device=device)
    except (EncoderMismatch, EncoderUnavailable) as error:
        if encoder is not None:
            raise
        output.warn(f"no figures of text queries: {error}")
    from ui.report.export import export as run

    progress = None if quiet else output.say
    written = run(gallery, folder, model, k=depths(k), progress=progress, with_reports=with_reports)
    if json:
        output.as_json({**written.as_dict(), "store": gallery.describe()})
    else:
        output.say(f"{counted(len(written.files), 'file')} in {written.folder}")


def _by_tenths() -> Callable[[int, int], None]:
    """Progress as a line for each tenth; none of what is done at once."""
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done < total and 10 * done // total > told:
            told = 10 * done // total
            output.say(f"{done:,} of {total:,} films")

    return tell


def _export_films(
    gallery: Gallery,
    folder: Path,
    form: str,
    conditions: list[str],
    ids: list[str] | None,
    pictures: str,
    with_reports: bool,
    json: bool,
    quiet: bool,
) -> None:
    from store import parse_where
    from ui.dataset.export import export_films

    where = parse_where(conditions, gallery.columns() if conditions else ())
    done = export_films(
        gallery,
        folder,
        form,
        where=where,
        ids=ids,
        pictures=pictures,
        with_reports=with_reports,
        progress=None if quiet else _by_tenths(),
    )
    for reason, count in Counter(one.reason for one in done.left_out).items():
        example = next(one for one in done.left_out if one.reason == reason)
        films = counted(count, "film")
        output.warn(f"{films} left out ({reason}), such as {example.id}: {example.detail}")
    if json:
        output.as_json({**done.as_dict(), "store": gallery.describe()})
    elif not quiet:
        splits = ", ".join(f"{name} {count:,}" for name, count in done.splits.items())
        films = counted(done.films, "film")
        output.say(f"{films} ({splits}) in {done.folder}; its card: README.md")
    if done.left_out:
        raise typer.Exit(3)
