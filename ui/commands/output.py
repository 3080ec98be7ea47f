"""What an ingestion came to: report, refusals and exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ui import printing

if TYPE_CHECKING:
    from ingest import IngestReport


#: Columns or folders named in one line.
_MOST = 20


def tell(
    report: IngestReport, store: str, rejections: Path | None, json: bool, *, pruning: bool
) -> None:
    """Print a report; exits with 3 when images were refused, 1 or 130 when it was stopped."""
    from ingest.job.journal import rejections_file, write_rejections

    if json:
        printing.as_json(report.as_dict())
    else:
        typer.echo(summary(report))
        if report.reread:
            films = "film was" if report.reread == 1 else "films were"
            printing.say(f"{report.reread:,} {films} read by an older reader; read again")
        if report.columns:
            told = ", ".join(f"{name} ({kind})" for name, kind in report.columns.items())
            printing.say(f"columns of your own: {told}")
    for note, count in report.notes.most_common():
        printing.warn(f"{count:,} {'film' if count == 1 else 'films'}: {note}")
    for rejection in report.rejected[:20]:
        printing.warn(f"refused {rejection.source}: {rejection.reason}: {rejection.detail}")
    if report.rejected:
        if rejections is not None:
            write_rejections(rejections, report.rejected)
        listed = rejections or rejections_file(store, report.batch)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        printing.warn(f"refused {len(report.rejected):,}: {counts}; all of them in {listed}")
    if pruning:
        _pruned(report)
    if report.warning:
        printing.warn(report.warning)
    if report.encoder_changed:
        printing.warn(report.encoder_changed)
    if report.stopped == "interrupted":
        raise interrupted()
    if report.stopped:
        printing.warn(f"stopped: {report.stopped}. To go on all the same: --keep-going")
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
    printing.warn("stopped; what was written stays, the same command goes on from there")
    return typer.Exit(130)


def _pruned(report: IngestReport) -> None:
    if report.pruned:
        printing.say(f"{report.pruned:,} rows whose file is gone were removed")
        return
    for id_ in report.gone[:20]:
        printing.say(f"gone: {id_}")
    more = "; to remove them: --prune --yes" if report.gone else ""
    printing.say(f"{len(report.gone):,} rows have lost their file{more}")


def summary(report: IngestReport) -> str:
    """One line about an ingestion."""
    return (
        f"{report.inserted:,} inserted, {printing.updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged, {len(report.rejected):,} refused; "
        f"{report.encoded:,} encoded in {report.seconds:.1f} s "
        f"({report.images_per_second:,.0f} images/s); table version {report.table_version}"
    )
