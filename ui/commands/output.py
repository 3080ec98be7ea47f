"""What an ingestion came to: report, refusals and exit code."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ingest import IngestReport, Progress
    from store import Evaluation, Gallery, Hit


#: Wide enough for ids and sources when the output is not a terminal.
_PIPE_WIDTH = 200


def say(message: str) -> None:
    """One line for a person, on stderr."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """A line that should not be missed, on stderr."""
    typer.secho(f"! {message}", err=True, fg=typer.colors.YELLOW, bold=True)


def as_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def updated(rows: int, changed: Mapping[str, int]) -> str:
    """How many rows were updated, and how many of them in which column."""
    told = ", ".join(f"{name} {count:,}" for name, count in changed.items())
    return f"{rows:,} updated ({told})" if told else f"{rows:,} updated"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> None:
    """A plain table on stdout; the last ``numbers`` columns are aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        right = place >= len(headings) - numbers
        found.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))  # Text: a bracket in an id is no markup
    console.print(found)


def hits(found: Sequence[Hit]) -> None:
    """Search results as a table."""
    table(
        ["rank", "id", "labels", "split", "dataset", "cosine"],
        [
            [
                str(hit.rank),
                hit.row.id,
                ", ".join(hit.row.labels) or "(not labelled)",
                hit.row.split or "",
                hit.row.dataset or "",
                f"{hit.score:.4f}",
            ]
            for hit in found
        ],
        numbers=1,
    )


def evaluations(found: Sequence[Evaluation]) -> None:
    """Precision@k of each protocol beside its floors, and the rest below."""
    depths = list(found[0].precision)
    rows = []
    for one in found:
        sizes = f"{one.queries:,} queries, {one.gallery:,} in the gallery"
        rows.append(
            [one.protocol, "encoder", *(_interval(one, k) for k in depths), _value(one.map)]
        )
        for name, floor in one.baselines.items():
            cells = [f"{floor['precision'][k]:.4f}" for k in depths]
            rows.append(["", name.replace("_", " "), *cells, _value(floor.get("map"))])
        for label, part in one.per_label.items():
            cells = [f"{part['precision'][k]:.4f}" for k in depths]
            rows.append(["", f"{label} ({part['queries']:,})", *cells, ""])
        if one.vote:
            rows.append(["", "majority vote", *(f"{one.vote[k]:.4f}" for k in depths), ""])
        rows.append(["", "hit rate", *(f"{one.hit_rate[k]:.4f}" for k in depths), ""])
        rows.append(["", sizes, *([""] * len(depths)), ""])
    table(["protocol", "", *(f"P@{k}" for k in depths), "mAP"], rows, numbers=len(depths) + 1)


def _interval(one: Evaluation, k: int) -> str:
    if k not in one.ci95:
        return f"{one.precision[k]:.4f}"
    low, high = one.ci95[k]
    return f"{one.precision[k]:.4f} [{low:.3f}, {high:.3f}]"


def _value(number: float | None) -> str:
    return "" if number is None or math.isnan(number) else f"{number:.4f}"


@contextmanager
def ingest_progress(quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere one line now and then."""
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.fields[stage]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[refused]}"),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("ingest", total=None, rate="", stage="ingest", refused="")

        def show(now: Progress) -> None:
            bar.update(
                task,
                total=now.total,
                completed=now.done,
                rate=f"{now.images_per_second:,.0f}/s",
                stage=now.stage,
                refused=f"{now.refused:,} refused" if now.refused else "",
            )

        yield show


def _lines() -> Callable[[Progress], None]:
    said = -1

    def show(now: Progress) -> None:
        nonlocal said
        tenth = 10 * now.done // now.total if now.total else 10
        if tenth > said:
            said = tenth
            refused = f", {now.refused:,} refused" if now.refused else ""
            pace = f"{now.images_per_second:,.0f} images/s"
            say(f"ingest: {now.done:,} of {now.total:,}, {pace}{refused}")

    return show


def say_manner(gallery: Gallery) -> None:
    """Say on stderr how answers are found, where they are not exact."""
    from ui.opening import manner

    if (said := manner(gallery.describe())) is not None:
        say(said)


def warn_if_synthetic(gallery: Gallery) -> None:
    """Say loudly, on stderr, that films here are invented."""
    from ingest import DATASET, SYNTHETIC_NOTICE

    if DATASET in gallery.facets()["dataset"]:
        warn(SYNTHETIC_NOTICE)


#: Columns or folders named in one line.
_MOST = 20


def tell(
    report: IngestReport, store: str, rejections: Path | None, json: bool, *, pruning: bool
) -> None:
    """Print a report; exits with 3 when images were refused, 1 or 130 when it was stopped."""
    from ingest import rejections_file, write_rejections

    if json:
        as_json(report.as_dict())
    else:
        typer.echo(summary(report))
        if report.reread:
            films = "film was" if report.reread == 1 else "films were"
            say(f"{report.reread:,} {films} read by an older reader; read again")
        if report.columns:
            told = ", ".join(f"{name} ({kind})" for name, kind in report.columns.items())
            say(f"columns of your own: {told}")
    for note, count in report.notes.most_common():
        warn(f"{count:,} {'film' if count == 1 else 'films'}: {note}")
    for rejection in report.rejected[:20]:
        warn(f"refused {rejection.source}: {rejection.reason}: {rejection.detail}")
    if report.rejected:
        if rejections is not None:
            write_rejections(rejections, report.rejected)
        listed = rejections or rejections_file(store, report.batch)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        warn(f"refused {len(report.rejected):,}: {counts}; all of them in {listed}")
    if pruning:
        _pruned(report)
    if report.warning:
        warn(report.warning)
    if report.encoder_changed:
        warn(report.encoder_changed)
    if report.stopped == "interrupted":
        raise interrupted()
    if report.stopped:
        warn(f"stopped: {report.stopped}. To go on all the same: --keep-going")
        raise typer.Exit(1)
    if report.rejected:
        raise typer.Exit(3)


def labelling(told: Mapping[str, Any]) -> list[str]:
    """Lines about where labels come from, and what of a table is not kept."""
    lines = []
    if "label_columns" in told:
        taken = told["label_columns"]
        lines.append(
            f"labels of {told['table']}: {_some(taken)}; files: {told['file_column']!r}"
            + (f"; seen and not kept: {_some(left)}" if (left := told["not_kept_columns"]) else "")
        )
    if "folders" in told:
        level, folders = told["folder_level"], told["folders"]
        which = f"level {level}" if isinstance(level, int) else f"levels {_joined(level)}"
        counts = [f"{name} ({count:,})" for name, count in [*folders.items()][:_MOST]]
        more = f" and {len(folders) - _MOST:,} more" if len(folders) > _MOST else ""
        lines.append(f"labels are the folders of {which}: {', '.join(counts)}{more}")
    return lines


def _some(headings: Sequence[str]) -> str:
    more = f" and {len(headings) - _MOST:,} more" if len(headings) > _MOST else ""
    return ", ".join(repr(heading) for heading in headings[:_MOST]) + more


def _joined(levels: Sequence[int]) -> str:
    return " and ".join(map(str, levels))


def interrupted() -> typer.Exit:
    """Say that Ctrl-C ended it; what to raise then."""
    warn("stopped; what was written stays, the same command goes on from there")
    return typer.Exit(130)


def _pruned(report: IngestReport) -> None:
    if report.pruned:
        say(f"{report.pruned:,} rows whose file is gone were removed")
        return
    for id_ in report.gone[:20]:
        say(f"gone: {id_}")
    more = "; to remove them: --prune --yes" if report.gone else ""
    say(f"{len(report.gone):,} rows have lost their file{more}")


def summary(report: IngestReport) -> str:
    """One line about an ingestion."""
    return (
        f"{report.inserted:,} inserted, {updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged, {len(report.rejected):,} refused; "
        f"{report.encoded:,} encoded in {report.seconds:.1f} s "
        f"({report.images_per_second:,.0f} images/s); table version {report.table_version}"
    )
