"""Lifts of what an encoder matches by, in sentences and tables, without Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from store import counted
from ui.tables import Sheet, definitions

if TYPE_CHECKING:
    from store import ColumnMatch, Matches

#: Columns in the words of a sentence: "from the same data set", "of the same sex".
_SAME = {
    "dataset": "from the same data set",
    "split": "in the same split",
    "view": "of the same view",
    "sex": "of the same sex",
    "age": "of the same decade of age",
    "patient": "of the same patient",
    "study": "of the same study",
}


def same_value(column: ColumnMatch) -> str:
    """Words for hits that share the value of a column with their query."""
    kind = "in the same quarter of" if column.kind == "quarters" else "of the same"
    return _SAME.get(column.name) or f"{kind} {column.name}"


def sentence(column: ColumnMatch) -> str:
    """The lift of a column in one sentence, without its full stop."""
    if not column.lift:
        return (
            f"hits with the same finding are never {same_value(column)}, "
            f"where chance has {column.chance:.1%}"
        )
    times = f"{column.lift:.3g} times as often {same_value(column)} as chance"
    low, high = column.ci95
    if not low <= high:  # nan
        verdict = "too few films for an interval"
    elif low <= 1 <= high:
        verdict = f"95 % interval {low:.3g} to {high:.3g}: may be chance"
    else:
        verdict = f"95 % interval {low:.3g} to {high:.3g}"
    few = f"; only {counted(column.queries, 'query', 'queries')}" if column.few else ""
    return f"hits with the same finding are {times} ({verdict}{few})"


def summary(found: Matches) -> list[str]:
    """Sentences on what an encoder matches by, without full stops; the rest in the last one."""
    surely = [not one.ci95[0] <= 1 <= one.ci95[1] for one in found.columns]
    lines = [sentence(one) for one, sure in zip(found.columns, surely, strict=True) if sure]
    others = [one for one, sure in zip(found.columns, surely, strict=True) if not sure]
    if others:
        names = ", ".join(f"{one.name} ({one.lift:.3g})" for one in others)
        lines.append(f"may be chance: {names}")
    return lines


def _share(value: float) -> str:
    return "–" if value != value else f"{value:.3f}"


def _bounds(pair: Sequence[float], digits: int = 3) -> str:
    return "" if pair[0] != pair[0] else f"\n{pair[0]:.{digits}f}–{pair[1]:.{digits}f}"


def table(found: Matches) -> tuple[list[str], list[list[str]]]:
    """Lift of every column with its interval, the greatest first."""
    rows = []
    for one in found.columns:
        bounds = _bounds(one.ci95, 2)
        notes = [f"{counted(one.missing, 'film')} without"] * bool(one.missing)
        notes += ["few queries"] * one.few
        notes += ["same-patient films counted"] * one.same_patient
        rows.append(
            [
                one.name + ("\n" + "; ".join(notes) if notes else ""),
                f"{one.lift:.2f}{bounds}",
                f"{one.shared:.3f}",
                f"{one.chance:.3f}",
                f"{one.pairs:,}",
                f"{one.queries:,}",
            ]
        )
    return ["", "lift", "shared", "chance", "pairs", "queries"], rows


def values_table(column: ColumnMatch, k: int) -> tuple[list[str], list[list[str]]]:
    """Precision@k of the queries of each value, and when only other values may be found."""
    rows = [
        [
            one.value + ("\nfew queries" if one.few else ""),
            f"{one.queries:,}",
            _share(one.precision) + _bounds(one.ci95),
            _share(one.chance),
            f"{one.candidates:,}",
            _share(one.across) + _bounds(one.across_ci95),
            _share(one.across_chance),
        ]
        for one in column.values
    ]
    head = ["queries", f"P@{k}", "by chance", "films of others", f"P@{k} among others", "by chance"]
    return [column.name, *head], rows


def points(found: Matches) -> list[dict[str, Any]]:
    """Points of a chart of lifts: one a column, with its interval; those of 0 are left out."""
    return [
        {
            "column": one.name,
            "lift": one.lift,
            "low": None if one.ci95[0] != one.ci95[0] else one.ci95[0],
            "high": None if one.ci95[1] != one.ci95[1] else one.ci95[1],
            "said": sentence(one),
        }
        for one in found.columns
        if one.lift
    ]


def sheet(found: Matches) -> Sheet:
    """Sheet of what an encoder matches by: one line a column, then one a value of it."""
    head = ["column", "value", "lift", "low", "high", "shared", "chance", "pairs", "queries"]
    head += ["films without a value", "few queries", f"P@{found.k}", "P low", "P high"]
    head += ["P by chance", "films of others", f"P@{found.k} among others", "among others low"]
    head += ["among others high", "among others by chance", "note"]
    rows: list[list[object]] = []

    def numbers(*values: float) -> list[object]:
        return [None if value != value else Decimal(f"{value:.6g}") for value in values]

    for one in found.columns:
        note = "films of the query's own patient counted" if one.same_patient else ""
        lift = numbers(one.lift, *one.ci95, one.shared, one.chance)
        sizes = [one.pairs, one.queries, one.missing, _yes(one.few)]
        rows.append([one.name, "", *lift, *sizes, *[None] * 9, note])
        rows += [
            [
                *(
                    one.name,
                    value.value,
                    *[None] * 6,
                    value.queries,
                    None,
                    _yes(value.few),
                ),
                *numbers(value.precision, *value.ci95, value.chance),
                value.candidates,
                *numbers(value.across, *value.across_ci95, value.across_chance),
                "",
            ]
            for value in one.values
        ]
    rows += [
        [name, *[None] * (len(head) - 2), f"not measured: {why}"]
        for name, why in found.not_measured.items()
    ]
    return head, rows


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def note(found: Matches) -> str:
    """Definitions behind the lifts: relevance, exclusion, interval, films that took no part."""
    sizes = (
        f"{counted(found.queries, 'query', 'queries')}, {counted(found.gallery, 'film')} searched"
    )
    said = [f"{found.protocol.capitalize()}, the first {counted(found.k, 'hit')}; {sizes}"]
    return ". ".join([*said, *definitions(found.as_dict())]) + "."


def absent(found: Matches) -> str:
    """Columns that could not be measured, by reason; empty when all were."""
    reasons: dict[str, list[str]] = {}
    for name, why in found.not_measured.items():
        reasons.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())


#: Where no column can be measured: why, and what to do.
NO_COLUMNS = (
    "no column says anything but the finding. Ingest with columns that do (cxr ingest folder films "
    "--labels table.csv --columns view,sex,age,patient and your own), or several data sets into "
    "one gallery"
)
