"""``cxr search``: by image, by id or by text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import UsageError
from ui import caution, printing
from ui.commands.options import Device, EncoderName, Json, Store

if TYPE_CHECKING:
    from ingest import Pixels
    from store import Gallery, Hit, Vectors, Where


def search(
    store: Store,
    image: Annotated[
        Path | None, typer.Option(help="A PNG, JPEG, TIFF, WebP or DICOM file.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The id of a stored film.")] = None,  # noqa: A002
    text: Annotated[str | None, typer.Option(help='A sentence: "clear lungs".')] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE with label, split, dataset, patient, view, sex or age (40..60). "
            "Repeat a key for any of its values, several keys for all of them."
        ),
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Write a picture of the result here.")] = None,
    encoder: EncoderName = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Show the most similar films, with labels and exact cosine scores."""
    from store import Gallery, parse_where

    if [image, id, text].count(None) != 2:
        raise UsageError("give exactly one of --image, --id and --text")
    condition = parse_where(where or [])
    gallery = Gallery.open(store)
    printing.warn_if_synthetic(gallery)
    pixels: Pixels | None = None
    query: dict[str, Any]
    if id is not None:
        query = {"id": id}
        hits = gallery.search_by_id(id, k, condition)
    else:
        from ui.commands.options import encoder_of

        gallery.check_k(k)
        if image is not None:
            from ingest import read_image

            query = {"image": str(image)}
            pixels = read_image(image)
            vectors = encoder_of(gallery, encoder, device).encode_images([pixels])
            query["nearness"] = _say_how_near(gallery, vectors, pixels, json)
        else:
            query = {"text": text}
            using = encoder_of(gallery, encoder, device)
            vectors = using.encode_texts([text or ""])
            found = using.understands(text or "")
            query |= {"understood": found.understood, "reason": found.reason}
            if (warning := caution.of_text(found)) is not None:
                printing.warn(warning)
        hits = gallery.search(vectors, k, condition)[0]
    if len(hits) < k:
        printing.say(f"{len(hits)} of the {k} asked for: no other row passes [{condition}]")
    if json:
        printing.as_json({**as_dict(query, k, condition, hits), "store": gallery.describe()})
    else:
        printing.hits(hits)
    if figure is not None:
        _draw(figure, gallery, query, pixels, condition, hits)


def _say_how_near(gallery: Gallery, vectors: Vectors, pixels: Pixels, json: bool) -> dict[str, Any]:
    from ingest.images import thumbnail

    found = caution.nearness_of(gallery, vectors, thumbnail(pixels))
    if (warning := caution.of_image(found)) is not None:
        printing.warn(warning)
    if not json:
        printing.say(caution.how_near(found))
    return found.as_dict()


def as_dict(query: dict[str, Any], k: int, where: Where, hits: list[Hit]) -> dict[str, Any]:
    """The query and its hits as the command line prints them."""
    return {
        "query": {**query, "k": k, "where": str(where)},
        "hits": [
            {
                "rank": hit.rank,
                "id": hit.row.id,
                "score": hit.score,
                "labels": list(hit.row.labels),
                "split": hit.row.split,
                "dataset": hit.row.dataset,
                "source": hit.row.source,
            }
            for hit in hits
        ],
    }


def _draw(
    path: Path,
    gallery: Gallery,
    query: dict[str, Any],
    pixels: Pixels | None,
    where: Where,
    hits: list[Hit],
) -> None:
    from ui.figures import Query, png_bytes, provenance_of, retrieval_figure

    ids = [hit.row.id for hit in hits]
    if "id" in query:
        row = gallery.row(query["id"])
        picture = gallery.thumbnails([row.id])[row.id]
        asked = Query(image=picture, labels=row.labels, name=row.id)
    elif pixels is not None:
        asked = Query(image=pixels, name=Path(query["image"]).name)
    else:
        asked = Query(text=query["text"])
    searched = f"searched: {where}" if where else "searched: all rows"
    figure = retrieval_figure(
        asked, hits, gallery.thumbnails(ids), provenance_of(gallery, searched)
    )
    try:
        path.write_bytes(png_bytes(figure))
    except OSError as error:
        raise UsageError(
            f"cannot write the figure {path}: {error.strerror}; pass a path in a folder that exists"
        ) from error
    printing.say(f"figure: {path}")
