"""``cxr trust``: how far signs of a good answer can be trusted; packs; other prevalences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands import output
from ui.commands.options import Json, OneDataset, SamePatientFilms, Store, same_patient_films
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import AtPrevalence, Curve, PackResult, Selective


def trust(
    store: Store,
    k: Annotated[int, typer.Option("-k", help="Depth of Precision@k and of the vote.")] = 5,
    choose: Annotated[
        str | None,
        typer.Option(
            help="Split whose queries choose the rules. Default: val, if there is one; else half "
            "of the patients of --split choose, and the other half is reported."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split whose queries are reported.")] = "test",
    gallery_split: Annotated[str, typer.Option(help="Split that is searched.")] = "train",
    precision: Annotated[
        float | None,
        typer.Option(
            help="Mean Precision@k that the answers given should have. Default: that of half the "
            "present risk."
        ),
    ] = None,
    dataset: OneDataset = None,
    relevance: Annotated[str, typer.Option(help="As cxr evaluate takes it.")] = "any",
    same_patient: SamePatientFilms = "exclude",
    figure: Annotated[
        Path | None, typer.Option(help="Draw the risk-coverage curves: .png, .pdf or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """When to hold an answer back: risk-coverage curves of the signs of a good answer.

    A sign is known before anybody judges the answer: how near the nearest film is, how near the
    nearest plain picture is (the sign "no good match"), how far the neighbours agree. Rules are
    chosen on one split and reported on another. See docs/measures.md.
    """
    from ingest import pixel_vectors
    from store import selective

    if figure is not None:
        output.check_figure(figure)
    gallery = open_gallery(store)
    output.warn_if_synthetic(gallery)
    splits = gallery.facets()["split"]
    chooses = choose or ("val" if "val" in splits else None)
    found = selective(
        gallery,
        k,
        choose_on=chooses,
        split=split,
        gallery_split=gallery_split,
        dataset=dataset,
        wanted=precision,
        describe=pixel_vectors,
        relevance=relevance,
        same_patient=same_patient_films(same_patient),
    )
    if figure is not None:
        from ui.report.risk_figure import risk_figure
        from ui.report.sheet import provenance_of

        sides = f"split, {found.queries:,} queries of {found.reported_on}"
        output.write_figure(figure, risk_figure(found, provenance_of(gallery, sides)))
    if json:
        output.as_json(found.as_dict())
        return
    _print(found)


def _print(found: Selective) -> None:
    typer.echo(
        f"{found.queries:,} queries of {found.reported_on}, P@{found.k} {found.precision:.4f}; "
        f"rules chosen on {found.choosing:,} of {found.chosen_on}."
    )
    sets: list[tuple[str, Mapping[str, Curve]]] = [(f"1 - P@{found.k}", found.curves)]
    if found.vote_curves:
        sets.append((f"the vote of {found.k} is wrong", found.vote_curves))
    rows = [
        [risk, sign, *(f"{one:.4f}" for one in (curve.aurc, curve.chance, curve.best))]
        for risk, curves in sets
        for sign, curve in curves.items()
    ]
    output.table(["risk", "sign", "AURC", "held back blindly", "best possible"], rows, numbers=3)
    for sign, rule in found.rules.items():
        if rule.below is None:
            typer.echo(
                f"{sign}: no number reaches P@{found.k} {rule.wanted:.4f} on {found.chosen_on}."
            )
            continue
        given = rule.reported
        low, high = given["ci95"]
        kept = f"{100 * given['coverage']:.1f} % of queries at P@{found.k} {given['precision']:.4f}"
        typer.echo(
            f"{sign}: abstain below {rule.below:.4f} (P@{found.k} {rule.wanted:.4f} wanted, "
            f"{rule.chosen['precision']:.4f} where it was chosen) keeps {kept} "
            f"[{low:.3f}, {high:.3f}]."
        )


def print_pack(found: PackResult, learnt: str) -> None:
    """The gallery's measures above those that were published on the same data set.

    Args:
        found: measured.
        learnt: whether the gallery's encoder learnt from this data set: yes, no or unknown.
    """
    pack, names = found.pack, found.pack.measures
    said = f"{found.pixels}" if found.pixels else ""
    rows = [[f"{found.store['encoder']} (here)", said, *(f"{one:.3f}" for one in found.values)]]
    for one in found.published:
        cells = [f"{value:.3f}" for value in one.values]
        rows.append([one.encoder, str(one.pixels), *cells, *[""] * (len(names) - len(cells))])
    typer.echo(f"{pack.title}. {pack.source}; read {pack.read.isoformat()}.")
    typer.echo(
        f"{found.dataset}, {pack.protocol}: {found.queries:,} films of {pack.split} query "
        f"{found.gallery:,} of {pack.gallery_split}."
    )
    output.table(["encoder", "pixels", *names], rows, numbers=len(names) + 1)
    for note in pack.notes:
        typer.echo(note)
    name = found.store["encoder"]
    if learnt == "yes":
        typer.echo(f"{name} learnt from {found.dataset}, {pack.gallery_split}: not like for like.")
    elif learnt == "unknown":
        typer.echo(f"Whether {name} learnt from {found.dataset} is not known.")


def print_prevalence(found: AtPrevalence) -> None:
    """Precision@k over the galleries drawn, mean and spread."""
    typer.echo(
        f"{found.finding} at {found.prevalence:g} of {found.gallery:,} films searched "
        f"({found.positive:,} with it; {found.before:.4f} as they are), drawn {found.repeats} "
        f"times; {found.queries:,} queries, the same each time."
    )
    depths = list(found.precision)
    rows = [["all queries", *(_spread(found.precision[k]) for k in depths)]]
    rows += [
        [f"queries labelled {label}", *(_spread(values[k]) for k in depths)]
        for label, values in found.per_label.items()
    ]
    rows.append(["chance", *(f"{found.chance[k]:.4f}" for k in depths)])
    output.table(["", *(f"P@{k}" for k in depths)], rows, numbers=len(depths))
    typer.echo("Mean and standard deviation over the galleries drawn.")


def _spread(values: Mapping[str, float]) -> str:
    return f"{values['mean']:.4f} ± {values['sd']:.4f}"
