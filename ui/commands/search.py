"""``cxr search``: the nearest films to an image, a stored film or a sentence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from store import UsageError
from ui import notices, queries
from ui.commands import output
from ui.commands.options import (
    Device,
    EncoderName,
    Index,
    Json,
    OnLost,
    Paths,
    Shards,
    ShardsRay,
    Store,
)
from ui.opening import open_gallery

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from ingest import Choice, Pixels
    from store import Gallery, Hit, Where, WordHit


IN_REPORTS = "Words in reports"

#: Hits where nobody says how many.
_HITS = 10


def search(
    store: Store,
    image: Annotated[
        Path | None, typer.Option(help="A PNG, JPEG, TIFF, WebP or DICOM file.")
    ] = None,
    id: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="The id of a stored film, or its end where no other id ends so."),
    ] = None,
    text: Annotated[str | None, typer.Option(help='A sentence: "clear lungs".')] = None,
    words: Annotated[
        str | None,
        typer.Option(
            help='Words of reports: pleural effusion, "no effusion". Alone, or beside a picture, a '
            "film or a sentence.",
            rich_help_panel=IN_REPORTS,
        ),
    ] = None,
    negated: Annotated[
        bool,
        typer.Option(
            "--negated",
            help="Find words in reports that say they are absent, too.",
            rich_help_panel=IN_REPORTS,
        ),
    ] = False,
    fusion: Annotated[
        str | None,
        typer.Option(
            metavar="rrf|WEIGHT",
            help="How words and vectors make one list: rrf (the default), by their ranks, or the "
            "weight of the words from 0 to 1, e.g. 0.7.",
            rich_help_panel=IN_REPORTS,
        ),
    ] = None,
    with_reports: Annotated[
        bool,
        typer.Option(
            "--with-reports",
            help="Also print the report of each hit; with --json and --words the sentence found.",
            rich_help_panel=IN_REPORTS,
        ),
    ] = False,
    like: Annotated[
        list[str] | None, typer.Option(help="The id of a stored film to be like as well. Repeat.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option(help="The id of a stored film to be unlike. Repeat.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="How much the query, the films to be like and those to be unlike count "
            "(Rocchio). Default: 1,0.75,0.15."
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", help="How many hits.", show_default="10, or all of a smaller gallery"),
    ] = None,
    page: Annotated[int, typer.Option(help="Page 2 is the next k hits, and so on.")] = 1,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE with label, outcome (found, no finding, uncertain only, not labelled), "
            "uncertain, absent, split, dataset, patient, study, view, sex, age (40..60) or a "
            "column of your own (3, 2..7). Repeat a key for any of its values, several keys for "
            "all of them."
        ),
    ] = None,
    body_part: Annotated[
        str,
        typer.Option(help="any: take a DICOM film whatever part of the body its header names."),
    ] = "chest",
    long_text: Annotated[
        str,
        typer.Option(
            help="A text longer than the encoder reads: cut (search its beginning), mean of its "
            "sentences, or best (each film counts by the sentence nearest to it)."
        ),
    ] = "cut",
    other_patients: Annotated[
        bool,
        typer.Option(
            "--other-patients",
            help="Films of other patients only: leave out those of the query's own, or of its "
            "study where only that is known.",
        ),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write a picture of the result here: a .png, .pdf or .svg file."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the hits here, with all their metadata, as CSV.")
    ] = None,
    paths: Paths = False,
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    json: Json = False,
) -> None:
    """Show the most similar films, with labels and exact cosine scores."""
    from ingest import check_choice, read_bytes
    from store import parse_weights, parse_where

    part = check_choice(body_part)
    if figure is not None:
        output.check_figure(figure)
    queries.check_long_text(long_text, bool(like or unlike))
    given = 3 - [image, id, text].count(None)
    if given > 1 or not (given or like or words is not None):
        raise UsageError(
            "give exactly one of --image, --id and --text, films with --like, or --words"
        )
    beside = {"picture": image, "film": id, "text": text, "films": like}
    asked_words = queries.of_words(words, negated, fusion, beside, "--")
    if page < 1:
        raise UsageError(f"--page {page}: expected 1 or more")
    if weights and not (like or unlike):
        raise UsageError("--weights plays no part without --like or --unlike")
    using = parse_weights(weights) if weights else None
    gallery = open_gallery(store, index, shards, ray, on_lost)
    condition = parse_where(where or [], gallery.columns() if where else ())
    output.warn_if_synthetic(gallery)
    asked_for, k = k, min(_HITS, max(1, len(gallery))) if k is None else k
    gallery.check_k(k)
    id = None if id is None else gallery.whole_id(id)  # noqa: A001
    like, unlike = ([gallery.whole_id(one) for one in ids or []] for ids in (like, unlike))
    query, pixels, vector = asked_of(
        gallery, image, id, text, encoder, device, json, part, long_text
    )
    if like or unlike:
        query |= queries.of_marks(like, unlike, using)
    exclude: tuple[str, ...] = ()
    if other_patients:
        film = None if image is None or pixels is None else (read_bytes(image), pixels)
        own = queries.own_films(gallery, [*([] if id is None else [id]), *like], film)
        exclude = own.ids
        query["other_patients"] = {"excluded": own.kind, "films": len(own.ids)}
        output.say(notices.of_own_films(own))
    depth = k if page == 1 else min(k * page, len(gallery))
    seen = id if vector is None else vector
    found = queries.hits_of(
        gallery,
        seen,
        asked_words,
        depth,
        like=like,
        unlike=unlike,
        weights=using,
        where=condition,
        exclude=exclude,
    )
    if asked_words is not None:
        query |= asked_words.told
    near = None if asked_words is None else asked_words.beside
    hits = found[k * (page - 1) :]
    if len(hits) < k and (asked_for is not None or condition or other_patients or words):
        missing = [f"passes [{condition}]"] if words is None or condition else []
        if words is not None:
            missing.append(f"says “{words}”{' or is among the 1,000 nearest' if near else ''}")
        missing += ["is of another patient"] if other_patients else []
        few = notices.how_few(len(hits), asked_for, "hit")
        output.say(f"{few}: no other row {' and '.join(missing)}")
    output.say_if_inexact(gallery)
    if json:
        from ui import word_hits
        from ui.tables import as_dict

        more = [
            word_hits.as_dict(hit, near, with_reports)
            if word_hits.is_word_hit(hit)
            else {"report": hit.row.report}
            for hit in hits
            if with_reports or word_hits.is_word_hit(hit)
        ]
        document = as_dict(query, k, condition, hits, page, more)
        output.as_json({**document, "store": gallery.describe()})
    elif words is not None:
        output.word_hits(cast("Sequence[WordHit]", hits), near)
    else:
        output.hits(hits)
    if with_reports and not json:
        output.reports_of(hits)
    if csv is not None:
        from ui import film_sheet

        output.write_sheet(csv, film_sheet.hits(hits, paths, with_reports))
    if figure is not None:
        _draw(figure, gallery, query, pixels, condition, hits)


def asked_of(
    gallery: Gallery,
    image: Path | None,
    id_: str | None,
    text: str | None,
    encoder: str | None,
    device: str | None,
    json: bool,
    body_part: Choice,
    long_text: str,
) -> tuple[dict[str, Any], Pixels | None, npt.NDArray[np.float32] | None]:
    """The query as it is printed; its pixels and its vector, or vectors, where it has any."""
    if id_ is not None:
        return {"id": id_}, None, None
    if image is None and text is None:
        return {}, None, None
    from ingest.encoders import encoder_for

    pixels = None
    if image is not None:
        from ingest import read_image

        pixels = read_image(image, body_part)
        using = encoder_for(gallery, encoder, device=device)
        asked = queries.of_image(gallery, using, pixels, str(image))
    else:
        using = encoder_for(gallery, encoder, device=device)
        asked = queries.of_text(using, text or "", long_text)
    for warning in asked.warnings:
        output.warn(warning)
    if text is not None:
        asked.told["labels"] = queries.labels_instead(gallery, asked, text)
        _say_labels(gallery, asked.told["labels"])
    if asked.nearness is not None and not json:
        output.say(notices.match(asked.nearness))
        output.say(notices.how_near(asked.nearness))
    return asked.told, pixels, asked.vector


def _say_labels(gallery: Gallery, meant: Sequence[str]) -> None:
    """Say how to look for labels that a text names which is not understood."""
    from store import Where, counted

    for label in meant[:3]:
        carry = gallery.ids(Where(label=(label,)))
        films = len(carry)
        again = ["cxr", "search", "--id", carry[0], "--where", f"label={label}"]
        again += ["--store", gallery.uri]
        output.warn(
            f"{label!r} is a label here, of {counted(films, 'film')}; to see films that "
            f"carry it: {shlex.join(again)}"
        )


def _draw(
    path: Path,
    gallery: Gallery,
    query: dict[str, Any],
    pixels: Pixels | None,
    where: Where,
    hits: Sequence[Hit],
) -> None:
    from ui.report.figures import LONGEST, Query, retrieval_figure
    from ui.report.film_pictures import film_pictures
    from ui.report.sheet import provenance_of

    rows = [hit.row for hit in hits]
    row = gallery.row(query["id"]) if "id" in query else None
    printed = film_pictures(gallery, rows if row is None else [row, *rows], LONGEST)
    if row is not None:
        asked = Query.of(row, printed.by_id[row.id])
    elif pixels is not None:
        asked = Query(image=pixels, name=Path(query["image"]).name)
    elif "text" in query:
        asked = Query(text=query["text"])
    elif "like" in query:
        asked = Query(text=f"like {', '.join(query['like'])}")
    else:
        asked = Query(text=query["words"])
    searched = f"searched: {where}" if where else "searched: all rows"
    origin = provenance_of(gallery, searched, printed.note)
    figure = retrieval_figure(asked, hits, printed.by_id, origin)
    if printed.instead:
        output.warn(f"{printed.note}. {next(iter(printed.instead.values()))}")
    output.write_figure(path, figure)
