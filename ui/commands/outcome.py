"""What an ingestion came to: report, refusals and exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ui import printing

if TYPE_CHECKING:
    from ingest import IngestReport


def tell(
    report: IngestReport, store: str, rejections: Path | None, json: bool, *, pruning: bool
) -> None:
    """Print a report; exits with 3 when images were refused, 1 or 130 when it was stopped."""
    from ingest.journal import rejections_file
    from ingest.state import write_rejections

    if json:
        printing.as_json(report.as_dict())
    else:
        typer.echo(summary(report))
        if report.columns:
            told = ", ".join(f"{name} ({kind})" for name, kind in report.columns.items())
            printing.say(f"columns of your own: {told}")
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
    if report.stopped == "interrupted":
        raise interrupted()
    if report.stopped:
        printing.warn(f"stopped: {report.stopped}. To go on all the same: --keep-going")
        raise typer.Exit(1)
    if report.rejected:
        raise typer.Exit(3)


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
