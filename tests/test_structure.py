"""The shape of the tree: no circles of imports, small folders, few floors.

And of the tests: they know no private names. Ruff's SLF001 finds most of those.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ingest", "store", "ui")
Graph = dict[str, set[str]]

#: Of modules in a folder, without ``__init__``: on average, and at most.
MEAN, MOST = 8, 14
#: Of imports between the folders and files of a room, one above the other.
FLOORS = {"store": 8, "ingest": 9, "ui": 9}


@cache
def modules() -> Mapping[str, Path]:
    """All modules of the three rooms by their dotted names; a package stands for its __init__."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported(name: str) -> Mapping[str, bool]:
    """Modules of ours that a module imports, inside functions too; true: only for type checkers."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, bool] = {}

    def note(names: Iterable[str], typing: bool) -> None:
        for one in names:
            if one in modules() and one != name:
                found[one] = typing and found.get(one, True)

    def look(node: ast.AST, typing: bool) -> None:
        if isinstance(node, ast.Import):
            note([alias.name for alias in node.names], typing)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = above[: len(above) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                deep = f"{whole}.{alias.name}"
                note([deep if deep in modules() else whole], typing)
        guard = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                continue  # no import stands in one, and most nodes do
            look(child, typing or (guard and child in node.body))

    look(ast.parse(path.read_text("utf-8")), False)
    return found


def arrows(checking: bool) -> Graph:
    """Who imports whom; ``checking``: for type checkers as well."""
    return {
        name: {to for to, typing in imported(name).items() if checking or not typing}
        for name in modules()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other, each sorted (Tarjan's strongly connected components)."""
    seen: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        seen[node] = low[node] = len(seen)
        stack.append(node)
        for to in graph[node]:
            if to not in seen:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in stack:
                low[node] = min(low[node], seen[to])
        if low[node] == seen[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in graph:
        if node not in seen:
            visit(node)
    return sorted(found)


def storeys(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Nodes by floor: a node is one above the highest that it imports."""

    @cache
    def floor(node: str) -> int:
        return 1 + max((floor(to) for to in graph[node]), default=0)

    top = max(map(floor, graph))
    return [sorted(node for node in graph if floor(node) == at) for at in range(1, top + 1)]


def of_room(room: str) -> Graph:
    """Who imports whom among the folders and the files at the root of a room.

    The room's own ``__init__`` is left out: it is its face, above all of them.
    """

    def part(name: str) -> str:
        return ".".join(name.split(".")[:2])

    inside = {name for name in modules() if name.startswith(f"{room}.")}
    graph: Graph = {part(name): set() for name in inside}
    for name, others in arrows(False).items():
        if name in inside:
            graph[part(name)] |= {part(to) for to in others & inside} - {part(name)}
    return graph


def test_circles_and_storeys_are_seen():
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}
    assert circles(ring) == [["a", "b", "c"]]
    tower = {"roof": {"walls", "ground"}, "walls": {"ground"}, "ground": set()}
    assert circles(tower) == []
    assert storeys(tower) == [["ground"], ["walls"], ["roof"]]
    assert "store.gallery" in arrows(False)["store"] | arrows(True)["store"]


@pytest.mark.parametrize("checking", [False, True], ids=["at run time", "for types as well"])
def test_no_module_imports_itself_in_a_circle(checking):
    assert circles(arrows(checking)) == []


def test_folders_are_small():
    held: dict[str, int] = {}
    for path in modules().values():
        folder = str(path.parent.relative_to(ROOT))
        held[folder] = held.get(folder, 0) + (path.name != "__init__.py")
    full = {folder: count for folder, count in held.items() if count}
    assert {folder: count for folder, count in full.items() if count > MOST} == {}
    assert mean(full.values()) <= MEAN, full


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_few_floors(room):
    assert circles(of_room(room)) == []
    floors = storeys(of_room(room))
    assert len(floors) <= FLOORS[room], floors


def private_names(path: Path) -> Iterator[str]:
    """Private names of other modules that a file imports, or gives to be patched as text."""

    def is_private(name: str) -> bool:
        return any(part.startswith("_") and part[1:2] != "_" for part in name.split("."))

    def called(function: ast.expr) -> str:
        if isinstance(function, ast.Attribute):
            return f"{called(function.value)}.{function.attr}"
        return function.id if isinstance(function, ast.Name) else ""

    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        found = []
        if isinstance(node, ast.ImportFrom):
            found = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and called(node.func).endswith(
            ("setattr", "delattr", "getattr", "patch", "patch.object")
        ):
            given = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
            found = [one for one in given if isinstance(one, str)]
        yield from (f"{path.name}:{node.lineno}: {name}" for name in found if is_private(name))


def test_private_names_are_seen(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        "from store.table import _fsync\nimport ray._private.util\nfrom __future__ import x\n"
        "monkeypatch.setattr(local, '_fsync', None)\nmonkeypatch.setattr('a._B', 1)\n"
        "setattr(a, 'b', '_c')\nmonkeypatch.delattr(os, '__name__')\n"
    )
    assert [one.partition(": ")[2] for one in private_names(file)] == [
        "_fsync",
        "ray._private.util",
        "_fsync",
        "a._B",
    ]


def test_no_test_reaches_for_a_private_name():
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert len(tests) > 100
    assert [name for path in tests for name in private_names(path)] == []
