"""Tables of an evaluation as papers want them: Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from store import UsageError
from ui.tables import FLOORS, precision_rows

#: Forms of a table.
FORMATS = ("md", "csv", "latex")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
}


def check_format(name: str) -> str:
    """The form of a table; UsageError when there is none of that name."""
    if name not in FORMATS:
        raise UsageError(f"--format {name!r}: expected {', '.join(FORMATS)}")
    return name


def evaluation_table(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Precision@k with intervals of the encoder, above its floors, by protocol.

    Args:
        found: evaluations as plain JSON types, of the same depths.

    Returns:
        Head, and rows of text.
    """
    depths = list(found[0]["precision"])
    rows = []
    for one in found:
        name = str((one.get("store") or {}).get("encoder") or "encoder")
        protocol = str(one["protocol"])
        for row in precision_rows(one):
            if row.kind not in ("encoder", "baseline"):
                continue
            cells = row.cells(depths, 4)
            for place, k in enumerate(depths):
                if bounds := row.intervals.get(k):
                    cells[place] += f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
            whole = "" if row.map is None else f"{row.map:.4f}"
            called = name if row.kind == "encoder" else FLOORS.get(row.name, row.name)
            rows.append([protocol, called, *cells, whole])
            protocol = ""
    return ["protocol", "method", *(f"P@{k}" for k in depths), "mAP"], rows


def evaluation_sheet(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """The same with one number a cell, for CSV: a line for each protocol, method and depth."""
    rows: list[list[object]] = []
    for one in found:
        name = str((one.get("store") or {}).get("encoder") or "encoder")
        for row in precision_rows(one):
            called = name if row.kind == "encoder" else row.name or row.kind
            kind = row.kind
            for k, value in row.values.items():
                low, high = row.intervals.get(k, (None, None))
                asked = row.queries or one["queries"]
                rows.append([one["protocol"], kind, called, asked, k, value, low, high, row.map])
    head = ["protocol", "kind", "name", "queries", "k", "value", "low", "high", "map"]
    return head, rows


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 2) -> str:
    """A Markdown table; all but the first columns are aligned right."""
    lines = [head, ["---"] * texts + ["---:"] * (len(head) - texts), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def latex(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A LaTeX table for the package booktabs, with notes as comments above it."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(one, one) for one in cell) for cell in cells) + r" \\"

    comments = [f"% {' '.join(note.split())}" for note in notes]
    body = [line(row) for row in rows]
    columns = "ll" + "r" * (len(head) - 2)
    top = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(head), r"\midrule"]
    return "\n".join([*comments, *top, *body, r"\bottomrule", r"\end{tabular}"])
