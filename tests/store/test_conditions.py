"""Values become text of the table's filter language in one place, and mean themselves there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.table import filters
from tests.store.any_text import names

ROOT = Path(__file__).parent.parent.parent
#: Methods of LanceDB whose first argument is a condition; others take it as ``where=``.
_TAKING = ("where", "delete", "count_rows", "when_not_matched_by_source_delete")
_LANGUAGE = re.compile(r"\bIN \(|array_has|_rowid\b.*[=<>]|\b(AND|OR) \(|date '|[=<>] '")


def _table(columns: dict[str, Any]) -> Any:
    return lancedb.connect("memory://").create_table("t", pa.table(columns))


def _met(table: Any, condition: Any) -> list[int]:
    found = table.search().where(condition).select(["n"]).limit(None).to_arrow()["n"]
    return sorted(found.to_pylist())


@settings(max_examples=8)
@given(st.lists(names, min_size=1, max_size=6, unique=True), names)
def test_texts_mean_themselves(texts: list[str], other: str) -> None:
    rows = range(len(texts))
    lists = pa.array([[text, "x"] for text in texts], pa.list_(pa.string()))
    table = _table({"n": rows, "id": texts, "labels": lists})
    for asked in ([texts[0]], texts, [other], [texts[-1], other]):
        expected = [n for n in rows if texts[n] in asked]
        assert _met(table, filters.among(asked)) == expected
        assert _met(table, filters.equal("id", asked)) == expected
        assert table.count_rows(filters.equal("id", asked)) == len(expected)
        assert _met(table, filters.holds("labels", asked)) == [
            n for n in rows if {texts[n], "x"} & {*asked}
        ]
    low, high = sorted([texts[0], other])
    assert _met(table, filters.between("id", low, high)) == [
        n for n in rows if low <= texts[n] <= high
    ]
    gone = table.delete(filters.equal("id", [texts[0]])).num_deleted_rows
    assert (gone, table.count_rows()) == (1, len(texts) - 1)


@settings(max_examples=12)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_numbers_are_the_same_numbers(values: list[float]) -> None:
    table = _table({"n": range(len(values)), "x": pa.array(values, pa.float64())})
    for value in values:
        same = [n for n, other in enumerate(values) if other == value]
        assert _met(table, filters.between("x", value, value)) == same


def test_dates_bools_and_odd_columns() -> None:
    days = [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)]
    columns = {"n": range(3), "select": ["a", "b", "c"], "größe": ["'", "''", ""], "on": days}
    table = _table(columns | {"to": [True, False, None]})
    assert _met(table, filters.between("on", days[1], None)) == [1, 2]
    assert _met(table, filters.between("on", None, days[0])) == [0]
    assert _met(table, filters.equal("select", ["b"])) == [1]
    assert _met(table, filters.equal("größe", ["''"])) == [1]
    assert _met(table, filters.is_true("to", False)) == [1]
    assert _met(table, filters.equal("select", [])) == []
    assert filters.between("on", None, None) is None
    assert filters.both([]) is None


def test_many_and_long() -> None:
    table = _table({"n": range(3), "id": ["a", "'" * 100_000, "c"]})
    assert _met(table, filters.equal("id", ["'" * 100_000])) == [1]
    many = [f"{n}'" for n in range(20_000)]
    assert _met(table, filters.equal("id", [*many, "c"])) == [2]
    assert table.delete(filters.rows(range(1, 50_000))).num_deleted_rows == 2


# -- nothing else writes it ------------------------------------------------------------------------


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for room in ("store", "ingest", "ui"):
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def written(name: str, module: ast.Module) -> list[str]:
    """The places of a module that write the filter language themselves."""
    found = []
    for node in ast.walk(module):
        what = None
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lancedb.expr"):
            what = "builds expressions"
        elif isinstance(node, ast.Attribute) and node.attr == "to_sql":
            what = "makes an expression into text"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = [*node.args[:1]] if node.func.attr in _TAKING else []
            given += [one.value for one in node.keywords if one.arg in ("where", "condition")]
            if any(map(_is_text, given)):
                what = f"writes the condition of {node.func.attr}"
        elif isinstance(node, ast.JoinedStr | ast.BinOp) and _LANGUAGE.search(_text_in(node)):
            what = "puts a condition together"
        if what:
            found.append(f"{name}:{node.lineno} {what}")
    return found


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.Call):  # "...".format(), " AND ".join()
        return isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr | ast.BinOp)


def _text_in(node: ast.AST) -> str:
    parts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return "\0".join(part for part in parts if isinstance(part, str))


def test_nothing_else_writes_a_condition() -> None:
    allowed = {
        "store/table/filters.py",
        "ingest/job/file_memory.py",
    }  # the other is SQLite's, with marks
    found = [one for name, tree in _modules() if name not in allowed for one in written(name, tree)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "from lancedb.expr import col",
        "handle.delete((col('id') == name).to_sql())",
        "handle.delete(f\"id = '{name}'\")",
        "handle.delete('id = ' + name)",
        "handle.count_rows('id = %s' % name)",
        "query.where(\"id = '{}'\".format(name))",
        "query.where(' AND '.join(parts))",
        "merge.when_matched_update_all(where=f'target.id = {name}')",
        "text = f'_rowid = {row}'",
        "text = f\"array_has(labels, '{label}')\"",
        "text = 'id IN (' + listed + ')'",
    ],
)
def test_the_guard_sees_it(text: str) -> None:
    assert written("x.py", ast.parse(text))


def test_the_old_way_is_not_right() -> None:
    """Why there is a function of ours: should LanceDB mend this, it may go."""
    from lancedb.expr import col

    table = _table({"n": range(2), "id": ["film''.png", "film'.png"]})
    assert _met(table, col("id") == "film''.png") == [0]
    assert _met(table, (col("id") == "film''.png").to_sql()) != [0]
