"""``cxr classify``: how near every film is to a sentence for each label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from store import UsageError, counted
from ui import notices
from ui.commands import output
from ui.commands.options import Device, EncoderName, Json, Store
from ui.opening import open_gallery


def classify(
    store: Store,
    labels: Annotated[
        str,
        typer.Option(
            help='Labels with a comma between, as the gallery calls them: "pneumonia,normal"; a '
            'sentence of your own after =: "normal=clear lungs".'
        ),
    ],
    template: Annotated[
        str,
        typer.Option(help='Sentence for a label: "a chest radiograph with {}".'),
    ] = "{}",
    where: Annotated[
        list[str] | None, typer.Option(help="Only films that pass; as in cxr search.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write the cosines of all films to this file.")
    ] = None,
    encoder: EncoderName = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Similarity of each film to a sentence for each label, and how often the nearest is right.

    Similarities are cosines. P@1: of the films that carry a label, the share whose nearest sentence
    is that of a label of theirs. AUROC: whether those that carry a label are nearer to its sentence
    than those that do not.
    """
    from ingest import csv_bytes
    from ingest.encoders import encoder_for, text_query
    from store import parse_where, similarities
    from ui import tables

    sentences = _sentences(labels, template)
    gallery = open_gallery(store)
    condition = parse_where(where or [], gallery.columns() if where else ())
    output.warn_if_synthetic(gallery)
    model = encoder_for(gallery, encoder, device=device)
    asked = {name: text_query(model, sentence) for name, sentence in sentences.items()}
    understood = {name: model.understands(one) for name, one in asked.items()}
    for name, one in asked.items():
        if one.cut:
            output.warn(
                f"{name}: its sentence has {counted(one.tokens, 'token')} and the encoder reads "
                f"{one.longest}: not read was {one.cut!r}"
            )
        if (warning := notices.of_text(understood[name])) is not None:
            output.warn(f"{name}: {warning}")
    vectors = [one.vectors[0] for one in asked.values()]
    result = similarities(gallery, [*sentences], vectors, condition)
    for name, figures in result.by_label.items():
        if not figures.films:
            output.say(f"no film is labelled {name!r}: its similarities are not judged")
        elif not figures.others:
            output.say(
                f"every labelled film here carries {name!r}: no AUROC, which compares two kinds"
            )
    if len(sentences) == 1:
        output.say("one label alone has no P@1, which asks for the nearest of several")
    if csv is not None:
        rows = tables.similarity_rows(result)
        csv.parent.mkdir(parents=True, exist_ok=True)
        csv.write_bytes(csv_bytes(*rows))
        output.say(f"similarities: {csv}")
    document = tables.similarities_as_dict(
        result, sentences, {name: one.understood for name, one in understood.items()}
    )
    if json:
        output.as_json({"template": template, **document, "store": gallery.describe()})
        return
    output.table(*_table(document), numbers=3)
    output.say(
        f"{counted(len(result.rows), 'film')}, {result.judged:,} of which carry one of these "
        "labels; "
        "similarities are cosines"
    )


def _sentences(labels: str, template: str) -> dict[str, str]:
    """Label to sentence, in the order given."""
    if template.count("{}") != 1:
        raise UsageError(
            f"--template {template!r}: expected one {{}} for the label, e.g. "
            "'a chest radiograph with {}'"
        )
    found: dict[str, str] = {}
    for part in labels.split(","):
        name, own, sentence = (one.strip() for one in part.partition("="))
        if not name or (own and not sentence) or name.casefold() in map(str.casefold, found):
            raise UsageError(
                f"--labels {labels!r}: expected names, each once, with a comma between, such as "
                "pneumonia,normal or pneumonia,normal=clear lungs"
            )
        found[name] = sentence or template.replace("{}", name)
    return found


def _table(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            one["name"],
            one["sentence"],
            f"{one['films']:,}",
            *("" if one[key] is None else f"{one[key]:.4f}" for key in ("precision_at_1", "auroc")),
        ]
        for one in document["labels"]
    ]
    whole = document["precision_at_1"]
    rows.append(["all", "", f"{document['judged']:,}", "" if whole is None else f"{whole:.4f}", ""])
    return ["label", "sentence", "films", "P@1", "AUROC"], rows
