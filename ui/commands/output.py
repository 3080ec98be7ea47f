"""Output of the commands: lines, tables and JSON; report and exit code of an ingestion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from store import UsageError, counted
from ui import notices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ingest import IngestReport, Progress, Reports
    from store import Evaluation, Gallery, Hit, WordHit
    from ui.tables import PrecisionRow, Sheet


#: Width of a table where the output is not a terminal: room for ids and sources.
_PIPE_WIDTH = 200
#: Items listed in one line, or lines of one list.
_MOST = 20


def say(message: str) -> None:
    """One line for a person, on stderr."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """A line that should not be missed, on stderr."""
    typer.secho(f"! {message}", err=True, fg=typer.colors.YELLOW, bold=True)


def as_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def some(items: Sequence[str]) -> str:
    """The first items of a list in one line, with the number of the others."""
    more = f" and {len(items) - _MOST:,} more" if len(items) > _MOST else ""
    return ", ".join(items[:_MOST]) + more


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


def check_figure(path: Path) -> None:
    """Refuse a figure that could not be written, before any work is done."""
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--figure {str(path)!r}: expected a name ending in .png, .pdf or .svg")
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(
            f"cannot write the figure {path}: it is a folder, or in none that exists; pass a path "
            "in a folder that exists"
        )


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write a sheet as a CSV file."""
    from ingest import csv_bytes

    try:
        path.write_bytes(csv_bytes(*sheet))
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; pass a path in a folder that exists"
        ) from error
    say(f"{len(sheet[1]):,} lines: {path}")


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as its name's ending says; see check_figure."""
    from ui.report.sheet import FORMATS

    try:
        path.write_bytes(FORMATS[path.suffix.lower()](figure))
    except OSError as error:
        raise UsageError(
            f"cannot write the figure {path}: {error.strerror}; pass a path in a folder that exists"
        ) from error
    say(f"figure: {path}")


def hits(found: Sequence[Hit]) -> None:
    """Search results as a table."""
    table(
        ["rank", "id", "labels", "split", "dataset", "cosine"],
        [
            [
                str(hit.rank),
                hit.row.id,
                ", ".join(hit.row.named_findings) or f"({hit.row.outcome})",
                hit.row.split or "",
                hit.row.dataset or "",
                f"{hit.score:.4f}",
            ]
            for hit in found
        ],
        numbers=1,
    )


def reports_of(found: Sequence[Hit]) -> None:
    """Reports of search results, each under the rank and id of its film."""
    for hit in found:
        typer.echo(f"{hit.rank}. {hit.row.id}")
        typer.echo(indented(hit.row.report or "(no report)") + "\n")


def indented(text: str) -> str:
    """Lines of a text with space before, without blank ones."""
    return "\n".join(f"   {line}" for line in text.splitlines() if line.strip())


def word_hits(found: Sequence[WordHit], beside: str | None) -> None:
    """Results of a search in words as a table, with the sentence that words found.

    Args:
        found: the hits.
        beside: what was asked beside the words; None for words alone.
    """
    from ui.word_hits import found_by

    scores = ["BM25"] if beside is None else ["found by", "fused", "BM25", "cosine"]
    rows = []
    for hit in found:
        bm25 = "" if hit.bm25 is None else f"{hit.bm25:.2f}"
        cells = [bm25]
        if beside is not None:
            cosine = "" if hit.cosine is None else f"{hit.cosine:.4f}"
            cells = [found_by(hit, beside), f"{hit.score:.4f}", bm25, cosine]
        sentence = "" if hit.passage is None else hit.passage.marked()
        labels = ", ".join(hit.row.named_findings) or f"({hit.row.outcome})"
        rows.append([str(hit.rank), hit.row.id, labels, sentence, *cells])
    table(["rank", "id", "labels", "report", *scores], rows, numbers=min(len(scores), 3))


def evaluations(found: Sequence[Evaluation]) -> None:
    """Tables of each protocol's figures, and the definitions of what they measure.

    First Precision@k of encoder, floors, labels, vote and hit rate; then the other measures; then
    finding by finding, where films have several findings or none.
    """
    from ui import tables

    depths = [str(k) for k in found[0].precision]
    rows, others, findings = [], [], []
    for one in found:
        document, protocol = one.as_dict(), one.protocol
        apart = tables.by_finding(document)
        for row in tables.precision_rows(document):
            if row.kind == "label" and apart:
                continue
            rows.append([protocol, *_figures(row, depths)])
            protocol = ""
        sizes = f"{counted(one.queries, 'query', 'queries')}, {one.gallery:,} in the gallery"
        rows.append(["", sizes, *([""] * len(depths)), ""])
        for at, row in enumerate(tables.measure_rows(document)):
            others.append(["" if at else one.protocol, *_figures(row, depths)])
        if apart:
            head, listed = tables.finding_table(document)
            findings += [["" if at else one.protocol, *row] for at, row in enumerate(listed)]
    table(["protocol", "", *(f"P@{k}" for k in depths), "mAP"], rows, numbers=len(depths) + 1)
    if others:
        ranks = (f"k = {k}" for k in depths)
        table(["protocol", "measure", *ranks, "whole ranking"], others, numbers=len(depths) + 1)
    if findings:
        table(["protocol", "finding by finding", *head[1:]], findings, numbers=len(head) - 1)
    said = [tables.definitions(one.as_dict()) for one in found]
    for at, one in enumerate(found):
        if at and said[at] == said[0]:
            continue
        same = all(lines == said[at] for lines in said)
        typer.echo("" if same else f"{one.protocol}:")
        for line in said[at]:
            typer.echo(f"{line}.")


def _figures(row: PrecisionRow, depths: Sequence[str]) -> list[str]:
    """Name, values with their intervals, and the figure of whole rankings, of one row."""
    cells = row.cells(depths, 4)
    for place, k in enumerate(depths):
        if bounds := row.intervals.get(k):
            digits = 4 if row.kind == "measure" else 3
            cells[place] += f" [{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    counted = f" ({row.queries:,})" if row.kind == "label" else ""
    whole = "" if row.map is None else f"{row.map:.4f}"
    return [f"{row.name or row.kind}{counted}", *cells, whole]


@contextmanager
def ingest_progress(quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Progress of an ingestion: a bar on a terminal, elsewhere a line per tenth.

    A note of the job is a warning as soon as it is known, quiet or not.
    """
    if quiet:
        yield _warning(lambda _: None)
        return
    if not sys.stderr.isatty():
        yield _warning(_lines())
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
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

        yield _warning(show)


def _warning(show: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """The same progress; its note is a warning, once."""
    said: set[str] = set()

    def shown(now: Progress) -> None:
        if now.note is not None and now.note not in said:
            said.add(now.note)
            warn(now.note)
        show(now)

    return shown


def _lines() -> Callable[[Progress], None]:
    shown = -1

    def show(now: Progress) -> None:
        nonlocal shown
        tenth = 10 * now.done // now.total if now.total else 10
        if tenth > shown:
            shown = tenth
            refused = f", {now.refused:,} refused" if now.refused else ""
            pace = f"{now.images_per_second:,.0f} images/s"
            say(f"ingest: {now.done:,} of {now.total:,}, {pace}{refused}")

    return show


#: Bytes from which on a copy says how far it is.
_LARGE = 256 << 20


@contextmanager
def byte_progress(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Progress of a copy in bytes: a bar on a terminal, elsewhere a line per tenth of a large one.

    Yields:
        Takes bytes done and in all; None when nothing is to be said.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _byte_lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _byte_lines(what: str) -> Callable[[int, int], None]:
    shown = 0

    def show(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // total if total >= _LARGE else 0
        if tenth > shown:
            shown = tenth
            say(f"{what}: {done >> 20:,} of {total >> 20:,} MB")

    return show


def say_if_inexact(gallery: Gallery) -> None:
    """Note on stderr that results are partial or approximate."""
    if (note := notices.of_results(gallery.describe())) is not None:
        say(note)


def warn_if_synthetic(gallery: Gallery) -> None:
    """Warning on stderr that films of the gallery are synthetic."""
    from ingest import DATASET, SYNTHETIC_NOTICE
    from store import Where

    if gallery.count(Where(dataset=(DATASET,))):
        warn(SYNTHETIC_NOTICE)


def conclude(
    report: IngestReport, store: str, rejections: Path | None, json: bool, *, pruning: bool
) -> None:
    """Print the report of an ingestion; exit with 3 if images were refused, 1 or 130 if stopped."""
    from ingest import rejections_file, write_rejections

    if json:
        as_json(report.as_dict())
    else:
        typer.echo(summary(report))
        outcomes = {key.replace("_", " "): n for key, n in report.outcomes.items() if n}
        if outcomes.keys() - {"found"}:
            say("outcomes: " + ", ".join(f"{name} {n:,}" for name, n in outcomes.items()))
        if report.kept_sentence:
            say(report.kept_sentence)
        if report.reread:
            films = "film was" if report.reread == 1 else "films were"
            say(f"{report.reread:,} {films} read by an older reader; read again")
        if report.columns:
            columns = ", ".join(f"{name} ({kind})" for name, kind in report.columns.items())
            say(f"columns of your own: {columns}")
    for note, count in report.notes.most_common():
        warn(f"{count:,} {'film' if count == 1 else 'films'}: {note}")
    for rejection in report.rejected[:_MOST]:
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


def labelling(found: Mapping[str, Any]) -> list[str]:
    """Lines about the source of labels, and columns of a table that are not kept."""
    lines = []
    if "label_columns" in found:
        taken, left = ([*map(repr, found[key])] for key in ("label_columns", "not_kept_columns"))
        parts = [*map(repr, found.get("report_columns", ()))]
        lines.append(
            (f"labels of {found['table']}: {some(taken)}" if taken else f"table {found['table']}")
            + f"; files: {found['file_column']!r}"
            + (f"; report: {some(parts)}" if parts else "")
            + (f"; seen and not kept: {some(left)}" if left else "")
        )
    if "folders" in found:
        level = found["folder_level"]
        which = f"level {level}"
        if not isinstance(level, int):
            which = f"levels {' and '.join(map(str, level))}"
        counts = [f"{name} ({count:,})" for name, count in found["folders"].items()]
        lines.append(f"labels are the folders of {which}: {some(counts)}")
    return lines


def reports(found: Reports) -> None:
    """What in reports that are about to be stored looks personal, on stderr; nothing without any.

    Lines of a warning where something does, one line where nothing does.
    """
    if not found.films:
        return
    for line in found.said():
        (warn if found.personal else say)(line)


def interrupted() -> typer.Exit:
    """Exit of a job that Ctrl-C ended, with its warning."""
    warn("stopped; what was written stays, the same command goes on from there")
    return typer.Exit(130)


def _pruned(report: IngestReport) -> None:
    if report.pruned:
        say(f"{counted(report.pruned, 'row was', 'rows were')} removed, whose file is gone")
        return
    for id_ in report.gone[:_MOST]:
        say(f"gone: {id_}")
    more = "; to remove them: --prune --yes" if report.gone else ""
    say(f"{counted(len(report.gone), 'row has', 'rows have')} lost their file{more}")


def summary(report: IngestReport) -> str:
    """Counts of an ingestion in one line."""
    return (
        f"{report.inserted:,} inserted, {updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged, {len(report.rejected):,} refused; "
        f"{report.encoded:,} encoded in {report.seconds:.1f} s "
        f"({report.images_per_second:,.0f} images/s); table version {report.table_version}"
    )


def updated(rows: int, changed: Mapping[str, int]) -> str:
    """Count of updated rows, with the count per changed column."""
    columns = ", ".join(f"{name} {count:,}" for name, count in changed.items())
    return f"{rows:,} updated ({columns})" if columns else f"{rows:,} updated"
