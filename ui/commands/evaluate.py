"""``cxr evaluate`` and ``cxr export``: how good it is, and the artefacts that show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui import printing
from ui.commands.distributing import OnLost, Shards, ShardsRay
from ui.commands.options import Depths, Device, EncoderName, Index, Json, Quiet, Store, depths
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import Evaluation, Gallery


def evaluate(
    store: Store,
    protocol: Annotated[str, typer.Option(help="leave-one-out, split, or both.")] = "both",
    split: Annotated[
        str | None,
        typer.Option(help="Split of the queries, or all. Default: test, if there is one."),
    ] = None,
    gallery_split: Annotated[
        str, typer.Option(help="Split that the split protocol searches.")
    ] = "train",
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    k: Depths = "1,3,5,10",
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Score sentences instead: a CSV or JSON file with text and label, bundled, or "
            "sentences (those that chose the bundled text tower; over split val)."
        ),
    ] = None,
    no_map: Annotated[
        bool,
        typer.Option(
            "--no-map", help="Leave out mAP, which ranks the whole gallery: quicker on large ones."
        ),
    ] = False,
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    json: Json = False,
) -> None:
    """Precision@k with intervals, per label, beside the random and the raw-pixel floors.

    With both protocols, --json prints the leave-one-out document, and the split one under
    "split". With --prompts: P@10 and average precision of each sentence. With --index lance there
    is no mAP and no raw-pixel floor, which take the whole gallery in memory.
    """
    from store import UsageError

    if protocol not in ("both", "leave-one-out", "split"):
        raise UsageError(f"--protocol {protocol!r}: expected leave-one-out, split or both")
    gallery = open_gallery(store, index, shards, ray, on_lost)
    printing.warn_if_synthetic(gallery)
    printing.say_manner(gallery)
    if prompts is not None:
        from ui.commands import evaluate_prompts
        from ui.commands.options import encoder_of

        asked = evaluate_prompts.read_prompts(prompts)
        if prompts == evaluate_prompts.CHOOSING and split is None:
            split = "val"  # where they chose; scoring them on test would be one more look at it
        scored = evaluate_prompts.evaluate_prompts(
            gallery, encoder_of(gallery, encoder, device), asked, split, dataset
        )
        if json:
            printing.as_json(scored)
        else:
            evaluate_prompts.show(scored)
        return
    found = measure(gallery, protocol, split, gallery_split, dataset, depths(k), not no_map)
    if json:
        first, *rest = (one.as_dict() for one in found)
        printing.as_json({**first, **{one["protocol"]: one for one in rest}})
    else:
        printing.evaluations(found)


def measure(
    gallery: Gallery,
    protocol: str = "both",
    split: str | None = None,
    gallery_split: str = "train",
    dataset: str | None = None,
    k: list[int] | None = None,
    full_ranking: bool = True,
) -> list[Evaluation]:
    """One evaluation per protocol; says on stderr what it left out and why."""
    from ingest.encoders.baselines import BASELINES

    splits = gallery.facets()["split"]
    if split is None:
        split = "test" if "test" in splits else "all"
        if split == "all":
            printing.say("no split named test here: every labelled row is a query")
    wanted = ["leave-one-out", "split"] if protocol == "both" else [protocol]
    if protocol == "both" and (split == "all" or gallery_split not in splits):
        printing.say(f"no split protocol: it needs queries and a split named {gallery_split}")
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
        )
        for one in wanted
    ]


def export(
    folder: Annotated[Path, typer.Argument(help="Where the artefacts go, e.g. task3_outputs.")],
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    k: Depths = "1,3,5,10",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write embeddings, labels, ids, the FAISS index, figures and the report."""
    from store import EncoderMismatch, EncoderUnavailable, Gallery
    from ui.commands.options import encoder_of

    gallery = Gallery.open(store)
    printing.warn_if_synthetic(gallery)
    model = None
    try:
        model = encoder_of(gallery, encoder, device)
    except (EncoderMismatch, EncoderUnavailable) as error:
        if encoder is not None:
            raise
        printing.warn(f"no figures of text queries: {error}")
    from ui.report.export import export as run

    progress = None if quiet else printing.say
    written = run(gallery, folder, model, k=depths(k), progress=progress)
    if json:
        printing.as_json({**written.as_dict(), "store": gallery.describe()})
    else:
        printing.say(f"{len(written.files)} files in {written.folder}")
