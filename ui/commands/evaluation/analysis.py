"""``cxr audit``, ``map``, ``compare`` and ``matched-by``: analyses of whole galleries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store import BadQuery, CxrError, UsageError, counted
from ui.commands import output
from ui.commands.options import (
    Depths,
    Device,
    GallerySplit,
    Json,
    OneDataset,
    Paths,
    QuerySplit,
    Quiet,
    SamePatientFilms,
    Store,
    depths,
    same_patient_films,
)

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Doubtful, Gallery, Glance, Group, Near

#: Lines of each list on a terminal; files and JSON have all.
_SHOWN = 10


def audit(
    store: Store,
    threshold: Annotated[
        float, typer.Option(help="Cosine from which two films are near duplicates.")
    ] = 0.98,
    compare: Annotated[
        str,
        typer.Option(help="What near duplicates are told by: pictures, or the encoder's vectors."),
    ] = "pictures",
    k: Annotated[int, typer.Option("-k", help="Neighbours asked about a film's labels.")] = 10,
    most: Annotated[int, typer.Option(min=1, help="Lines per list; all are counted.")] = 1000,
    csv: Annotated[
        Path | None, typer.Option(help="Also write each list into this folder, as CSV.")
    ] = None,
    paths: Paths = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Duplicates, leaks between splits, films whose neighbours disagree, labels at a glance.

    A film's disagreement is the mean Jaccard distance of its findings to those of its k nearest
    labelled films of other patients: with one label a film, the share of neighbours that carry
    another one. Unsupported: it carries a finding that fewer than half of them do; missing: more
    than half of them carry one that it does not.
    """
    from store import Gallery
    from store import audit as audits
    from ui import tables

    if compare not in ("pictures", "vectors"):
        raise UsageError(f"--compare {compare!r}: expected pictures or vectors")
    from ingest import pixel_vectors

    gallery = Gallery.open(store)
    gallery.refresh()
    output.warn_if_synthetic(gallery)
    describe = pixel_vectors if compare == "pictures" else None
    exact, glance = audits.exact(gallery), audits.glance(gallery)
    with bar("near duplicates", quiet) as progress:
        near = audits.near(gallery, threshold, describe, most, progress)
    doubtful = None
    try:
        with bar("neighbours' labels", quiet) as progress:
            doubtful = audits.doubtful(gallery, k, most, progress)
    except BadQuery as error:
        output.say(f"no disagreement: {error}")
    found = {
        "exact": [asdict(group) for group in exact],
        "near": asdict(near),
        "doubtful": None if doubtful is None else asdict(doubtful),
        "overview": asdict(glance),
        "store": gallery.describe(),
    }
    if csv is not None:
        _write(csv, gallery, exact, near, doubtful, glance, paths)
    if json:
        output.as_json(found)
        return
    across = sum(group.across for group in exact)
    differ = sum(group.labels_differ for group in exact)
    typer.echo(
        f"exact duplicates: {counted(len(exact), 'group')} of "
        f"{counted(sum(len(group.films) for group in exact), 'film')}, "
        f"{across:,} across splits, {differ:,} with differing labels; "
        f"{tables.whose(tables.whose_groups(exact))}"
    )
    for group in [group for group in exact if group.whose == tables.WRONG_IDS][:_SHOWN]:
        films = ", ".join(f"{film.id} (patient {film.patient or '?'})" for film in group.films)
        typer.echo(f"  one picture, several patients: {films}")
    typer.echo(
        f"near duplicates: {counted(near.total, 'pair')} of {near.by} with cosine "
        f"{near.threshold:g} or more, {near.across:,} across splits; {tables.whose(near.whose)}"
    )
    for pair in near.pairs[:_SHOWN]:
        marks = {
            "same source": pair.same_source,
            "across splits": pair.across,
            "labels differ": pair.labels_differ,
            tables.WRONG_IDS: pair.whose == tables.WRONG_IDS,
        }
        shown = ", ".join(name for name, holds in marks.items() if holds)
        typer.echo(f"  {pair.cosine:.4f}  {pair.left.id}  {pair.right.id}  {shown}")
    studies = sum(leak.patient is None for leak in glance.leaks)
    typer.echo(
        f"patients in several splits: {len(glance.leaks) - studies:,}"
        + (
            f", and {counted(studies, 'study', 'studies')} of patients that are not known"
            if studies
            else ""
        )
    )
    if doubtful is not None:
        typer.echo(
            f"doubtful labels: {doubtful.total:,} of {doubtful.labelled:,} labelled films differ "
            f"from most of their {counted(doubtful.k, 'neighbour')}, {doubtful.doubted:,} in a "
            f"finding or more; {tables.EXCLUDED[doubtful.excluded]}"
        )
        if missed := tables.left_out(doubtful.left_out):
            typer.echo(f"  left out: {missed}")
        for one in doubtful.films[:_SHOWN]:
            typer.echo(f"  {one.film.id}  {tables.labels_of(one.film)}: {tables.doubt(one)}")
        worst = sorted(
            doubtful.findings.items(), key=lambda one: -one[1].unsupported - one[1].missing
        )
        for name, doubts in worst[:_SHOWN]:
            typer.echo(
                f"  {name}: {counted(doubts.films, 'film')}, {doubts.unsupported:,} of them "
                f"unsupported; missing in {doubts.missing:,}"
            )
    for column in glance.columns:
        missing = sum(column.missing.values())
        if missing < len(gallery):
            typer.echo(
                f"{column.name}: {column.distinct:,} values, {counted(missing, 'film')} without"
            )


def _write(
    folder: Path,
    gallery: Gallery,
    exact: tuple[Group, ...],
    near: Near,
    doubtful: Doubtful | None,
    glance: Glance,
    paths: bool,
) -> None:
    from ingest import csv_bytes
    from ui import tables
    from ui.film_sheet import whole

    sheets = {
        "exact-duplicates": whole(tables.exact(exact), gallery, paths),
        "near-duplicates": whole(tables.near(near.pairs), gallery, paths),
        "patients-in-several-splits": tables.leaks(glance.leaks),
        "metadata": tables.metadata(glance),
    }
    if doubtful is not None:
        doubts = tables.doubts(doubtful.films, doubtful.k)
        sheets["doubtful-labels"] = whole(doubts, gallery, paths)
        sheets["doubtful-findings"] = tables.findings_doubted(doubtful.findings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (head, rows) in sheets.items():
            (folder / f"{name}.csv").write_bytes(csv_bytes(head, rows))
    except OSError as error:
        raise CxrError(f"{folder} cannot be written: {error}; pass another --csv") from error
    output.say(f"{len(sheets)} lists in {folder}")


def map_(
    store: Store,
    method: Annotated[
        str, typer.Option(help="pca: exact, at once. umap: needs pip install 'cxr-retrieval[map]'.")
    ] = "pca",
    seed: Annotated[int, typer.Option(help="Of the random parts of umap.")] = 0,
    neighbours: Annotated[
        bool,
        typer.Option(
            help="Also find every film's nearest other film, which compares all with all."
        ),
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Lay the gallery out in the plane, for the dashboard's map; kept beside the gallery."""
    from store import Gallery, maps

    gallery = Gallery.open(store)
    output.warn_if_synthetic(gallery)
    if not quiet and method == "umap":
        output.say("umap: a minute per 10,000 films or so")
    with bar("nearest films", quiet) as progress:
        found = maps.make(gallery, method, seed, progress, neighbours)
    if json:
        output.as_json({**found.as_dict(), "store": gallery.describe()})
        return
    share = f", {sum(found.explained):.1%} of the variance" if found.explained else ""
    typer.echo(
        f"{method} map of {counted(len(found.ids), 'film')} at table version "
        f"{found.made_at}{share}; "
        "see the dashboard's Map page"
    )


def compare(
    others: Annotated[
        list[str], typer.Argument(help="Other galleries with the same films.", metavar="OTHER...")
    ],
    store: Store,
    protocol: Annotated[str, typer.Option(help="leave-one-out or split.")] = "leave-one-out",
    split: Annotated[str, typer.Option(help="Split of the queries, or all.")] = "test",
    gallery_split: GallerySplit = "train",
    dataset: OneDataset = None,
    k: Depths = "1,3,5,10",
    relevance: Annotated[
        str, typer.Option(help="any, all, jaccard or finding=NAME, as in cxr evaluate.")
    ] = "any",
    same_patient: SamePatientFilms = "exclude",
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder or hub id of an encoder that is not found by its name; repeatable. It is "
            "told by its fingerprint whose it is."
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also time each encoder and each search on this machine."),
    ] = False,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which gallery finds more: encoders over the films that all of them have, query by query.

    Each gallery's Precision@k with its interval; the paired differences of the first (--store) to
    each other one, with theirs; and of each encoder what it learnt from, licence, size, and with
    --measure its speed.
    """
    from store import Gallery
    from store import compare as run
    from ui import encoder_facts, notices, tables

    galleries = [Gallery.open(uri) for uri in (store, *others)]
    given = _given(encoder or [], device, galleries)
    with bar("queries", quiet) as progress:
        found = run(
            galleries[0],
            galleries[1:],
            protocol,
            depths(k),
            split=None if split == "all" else split,
            gallery_split=gallery_split,
            dataset=dataset,
            progress=progress,
            relevance=relevance,
            same_patient=same_patient_films(same_patient),
        )
    if (note := notices.of_patients(found.as_dict())) is not None:
        output.warn(note)
    facts = [
        encoder_facts.facts_of(
            one, found.films, encoder_facts.found_encoder(one, given, device), measure
        )
        for one in galleries
    ]
    if json:
        output.as_json({**found.as_dict(), "encoders": [one.as_dict() for one in facts]})
        return
    head, rows = tables.comparison_table(found, 4, " ")
    output.table(head, rows, numbers=len(head) - 1)
    head, rows = tables.differences_table(found, 4, " ")
    output.table(head, rows, numbers=3)
    head, rows = tables.facts_table(tables.compared_names(found), facts)
    output.table(head, rows, numbers=2)
    typer.echo(tables.compared_films(found))
    for line in tables.compared_by(found):
        typer.echo(f"{line}.")


def _given(names: list[str], device: str | None, galleries: list[Gallery]) -> list[Encoder]:
    """Encoders that were named, each of which made one of the galleries."""
    from ingest.encoders import load_encoder

    given = [load_encoder(name, device=device) for name in names]
    made = {gallery.stamp.fingerprint for gallery in galleries}
    for one in given:
        if one.fingerprint not in made:
            raise UsageError(
                f"--encoder {one.name} (fingerprint {one.fingerprint[:12]}) made none of these "
                "galleries; leave it out, or name the one that did"
            )
    return given


def matched_by(
    store: Store,
    protocol: Annotated[str, typer.Option(help="leave-one-out or split.")] = "leave-one-out",
    split: QuerySplit = None,
    gallery_split: GallerySplit = "train",
    dataset: OneDataset = None,
    k: Annotated[int, typer.Option("-k", help="Hits of each query.")] = 10,
    relevance: Annotated[
        str, typer.Option(help="When a hit shares the finding: any, all, jaccard or finding=NAME.")
    ] = "any",
    same_patient: Annotated[
        str, typer.Option(help="Films of the query's own patient: exclude, or count.")
    ] = "exclude",
    values: Annotated[
        int,
        typer.Option(min=0, help="Values per column that are asked across; 0: the lifts alone."),
    ] = 12,
    csv: Annotated[Path | None, typer.Option(help="Also write all of it to this CSV file.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What an encoder matches by beside the finding: data set, view, sex, age, your own columns.

    The lift of a column: how many times as often as chance hits that share the finding of their
    query share its value too. 1: the encoder does not match by it. Then Precision@k of the queries
    of each value, usual and when only films with another value may be found.
    """
    from store import Gallery
    from store import matched_by as run
    from ui import lifts

    gallery = Gallery.open(store)
    gallery.refresh()
    output.warn_if_synthetic(gallery)
    if split is None:
        split = "test" if "test" in gallery.facets()["split"] else "all"
    with bar("rankings", quiet) as progress:
        found = run(
            gallery,
            protocol,
            k,
            split=None if split == "all" else split,
            gallery_split=gallery_split,
            dataset=dataset,
            relevance=relevance,
            same_patient=same_patient,  # type: ignore[arg-type]  # checked there
            values=values,
            progress=progress,
        )
    if csv is not None:
        from ingest import csv_bytes

        try:
            csv.write_bytes(csv_bytes(*lifts.sheet(found)))
        except OSError as error:
            raise CxrError(f"{csv} cannot be written: {error}; pass another --csv") from error
    if json:
        output.as_json(found.as_dict())
        return
    for line in lifts.summary(found):
        typer.echo(line)
    if found.columns:
        output.table(*_wrapped(lifts.table(found)), numbers=5)
    else:
        output.say(lifts.NO_COLUMNS)
    for one in found.columns:
        if one.values:
            output.table(*_wrapped(lifts.values_table(one, k)), numbers=6)
        if one.more and values:
            output.say(f"{one.name}: {one.more:,} rarer values were not asked across")
    if missing := lifts.absent(found):
        output.say(f"not measured: {missing}")
    output.say(lifts.note(found))


def _wrapped(table: tuple[list[str], list[list[str]]]) -> tuple[list[str], list[list[str]]]:
    """A table whose small second lines stand in brackets behind the first."""
    head, rows = table
    return head, [
        [cell.replace("\n", " [", 1) + "]" if "\n" in cell else cell for cell in row]
        for row in rows
    ]


@contextmanager
def bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Transient bar on a terminal; None elsewhere, where results follow soon."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
