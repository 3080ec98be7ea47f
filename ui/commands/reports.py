"""``cxr reports``: the reports of the films that are most like a film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import UsageError
from ui import notices, queries
from ui.commands import output
from ui.commands.options import Device, EncoderName, Index, Json, OnLost, Shards, ShardsRay, Store
from ui.commands.search import asked_of
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import NearReport

#: Reports where nobody says how many.
_REPORTS = 5


def reports(
    store: Store,
    image: Annotated[
        Path | None, typer.Option(help="A PNG, JPEG, TIFF, WebP or DICOM file.")
    ] = None,
    id: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="The id of a stored film, or its end where no other id ends so."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", help="How many reports, each once.", show_default=str(_REPORTS)),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only films that pass: KEY=VALUE as of cxr search.")
    ] = None,
    other_patients: Annotated[
        bool,
        typer.Option(
            "--other-patients",
            help="Reports of other patients only: leave out those of the film's own, or of its "
            "study where only that is known.",
        ),
    ] = False,
    body_part: Annotated[
        str,
        typer.Option(help="any: take a DICOM film whatever part of the body its header names."),
    ] = "chest",
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    json: Json = False,
) -> None:
    """Show the reports of the films most similar to one that has none.

    Each report stands once, with the cosine of its nearest film; films of one study share a report.
    What was written of other films is no report of this one.
    """
    from ingest import check_choice, read_bytes
    from store import Where, nearest_reports, parse_where

    asked_for, k = k, _REPORTS if k is None else k
    part = check_choice(body_part)
    if (image is None) == (id is None):
        raise UsageError("give one of --image and --id")
    gallery = open_gallery(store, index, shards, ray, on_lost)
    condition = parse_where(where or [], gallery.columns() if where else ())
    output.warn_if_synthetic(gallery)
    if not gallery.count(Where(extra=(("has_report", "yes"),))):
        raise UsageError(
            f"no film of {gallery.uri} has a report; ingest them with --report-column, see "
            "docs/sources.md"
        )
    id = None if id is None else gallery.whole_id(id)  # noqa: A001
    told, pixels, vector = asked_of(gallery, image, id, None, encoder, device, json, part, "cut")
    if id is not None:
        told["report"] = gallery.row(id).report
    exclude: tuple[str, ...] = ()
    if other_patients:
        film = None if image is None or pixels is None else (read_bytes(image), pixels)
        own = queries.own_films(gallery, [] if id is None else [id], film)
        exclude = own.ids
        told["other_patients"] = {"excluded": own.kind, "films": len(own.ids)}
        output.say(notices.of_own_films(own))
    asked = str(id) if vector is None else vector
    found = nearest_reports(gallery, asked, k, where=condition, exclude=exclude)
    if len(found) < k:
        among = f" among films that pass [{condition}]" if condition else ""
        few = notices.how_few(len(found), asked_for, "report")
        output.say(f"{few}: there is no other report{among}")
    output.say_if_inexact(gallery)
    if json:
        output.as_json(
            {
                "query": {**told, "k": k, "where": str(condition) if condition else ""},
                "reports": [_plain(one) for one in found],
                "store": gallery.describe(),
            }
        )
        return
    if told.get("report"):
        typer.echo(f"its own report:\n{output.indented(told['report'])}\n")
    for one in found:
        others = len(one.films) - 1
        more = f" and {others:,} more" if others else ""
        typer.echo(f"{one.rank}. cosine {one.score:.4f}  {one.films[0].id}{more}")
        typer.echo(f"{output.indented(one.report)}\n")


def _plain(one: NearReport) -> dict[str, Any]:
    return {
        "rank": one.rank,
        "score": one.score,
        "report": one.report,
        "films": [
            {"id": row.id, "labels": list(row.labels), "outcome": row.outcome} for row in one.films
        ],
    }
