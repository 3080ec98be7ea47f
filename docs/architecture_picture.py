"""Draws docs/images/architecture.png: rooms, folders and imports, read from the code itself.

    python -m docs.architecture_picture

An arrow goes from what imports to what is imported; one that follows from others is left out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
#: Rooms from left to right, with the colour of their boxes.
ROOMS = {"ingest": "#e3eef9", "store": "#fdf0d5", "ui": "#e4f3e8"}
LINE = "#4a5560"
#: Inches: a box, the room between boxes, a floor, the room between and below the rooms.
WIDTH, TALL, GAP, RISE, SPACE, FOOT = 2.1, 0.82, 0.2, 1.14, 0.5, 0.5


def run_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that are executed: those for type checking are not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from run_time(node)


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, as far as they are of this project."""
    for node in run_time(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from (alias.name for alias in node.names)


def unit_of(dotted: str) -> str | None:
    """The box of a dotted name: a folder of a room or a file beside them; None for the room."""
    room, *rest = dotted.split(".")
    if room not in ROOMS or not rest:
        return None
    if (ROOT / room / rest[0]).is_dir():
        return f"{room}/{rest[0]}"
    return f"{room}/{rest[0]}.py" if (ROOT / room / f"{rest[0]}.py").is_file() else None


def graph() -> tuple[dict[str, set[str]], set[tuple[str, str]]]:
    """Boxes with the boxes of their room that they import, and pairs of rooms."""
    within: dict[str, set[str]] = {}
    between: set[tuple[str, str]] = set()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            own = unit_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
            if own is None or own.endswith("__init__.py"):
                continue
            arrows = within.setdefault(own, set())
            for name in imported(path):
                other = unit_of(name)
                if other and other.startswith(f"{room}/") and other != own:
                    arrows.add(other)
                elif name.split(".")[0] in ROOMS and name.split(".")[0] != room:
                    between.add((room, name.split(".")[0]))
    return within, between


def joined(within: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph with the files at the bottom of each room, which import no folder, as one box."""
    box = {}
    for room in ROOMS:
        low = [
            one
            for one, below in within.items()
            if one.startswith(f"{room}/") and one.endswith(".py")
            if not any(not other.endswith(".py") for other in below)
        ]
        files = "\n".join(one.removeprefix(f"{room}/") for one in sorted(low))
        box |= dict.fromkeys(low, f"{room}/{files}")
    names = {one: box.get(one, one) for one in within}
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for one, below in within.items():
        found[names[one]] |= {names[other] for other in below} - {names[one]}
    return found


def reach(within: dict[str, set[str]], one: str) -> set[str]:
    """Everything below a box."""
    found: set[str] = set()
    for other in within[one]:
        found |= {other} | reach(within, other)
    return found


def floors(within: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each box: above all that it imports, right below the lowest that imports it."""
    found: dict[str, int] = {}

    def floor(one: str) -> int:
        if one not in found:
            found[one] = 1 + max(map(floor, within[one]), default=-1)
        return found[one]

    for one in within:
        floor(one)
    # A box that could stand higher does, beside those with the same importer.
    for one in sorted(within, key=lambda one: -found[one]):
        above = [found[other] for other, below in within.items() if one in below]
        found[one] = min(above) - 1 if above else found[one]
    return found


def label(unit: str) -> tuple[str, str]:
    """Title of a box, and a line with its folders and files."""
    room, _, name = unit.partition("/")
    if name.endswith(".py"):
        files = name.split("\n")
        return "\n".join("  ".join(files[at : at + 2]) for at in range(0, len(files), 2)), ""
    folder = ROOT / room / name
    files = [path for path in folder.rglob("*.py") if path.name != "__init__.py"]
    inner = sorted(path.name for path in folder.iterdir() if (path / "__init__.py").is_file())
    return f"{name}/", ", ".join([f"{len(files)} files", *inner]) if len(
        inner
    ) < 3 else f"{len(files)} files in {1 + len(inner)} folders"


def places(within: dict[str, set[str]], room: str) -> dict[str, tuple[float, int]]:
    """Centre and floor of the boxes of a room, each above what it imports where it can be."""
    level = floors(within)
    mine = [one for one in within if one.startswith(f"{room}/")]
    found: dict[str, tuple[float, int]] = {}
    for floor in sorted({level[one] for one in mine}):
        row = [one for one in mine if level[one] == floor]
        row.sort(key=lambda one: sum(found[other][0] for other in within[one]))
        for place, one in enumerate(row):
            found[one] = ((place - (len(row) - 1) / 2) * (WIDTH + GAP), floor)
    return found


def draw() -> Figure:
    """The picture."""
    within, between = graph()
    within = joined(within)
    # Only the arrows that the others do not imply.
    shown = {
        one: {other for other in below if not any(other in reach(within, by) for by in below)}
        for one, below in within.items()
    }
    rooms = {room: places(within, room) for room in ROOMS}
    widths = [2 * max(abs(x) for x, _ in boxes.values()) + WIDTH + 0.4 for boxes in rooms.values()]
    high = 0.65 + RISE * (1 + max(floor for boxes in rooms.values() for _, floor in boxes.values()))
    width, height = sum(widths) + SPACE * (len(ROOMS) - 1) + 0.3, high + 0.65
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    left, edges = 0.15, {}
    for (room, boxes), wide in zip(rooms.items(), widths, strict=True):
        edges[room] = (left, left + wide)
        _box(axes, left, FOOT, wide, high, "#fbfbfb", 1)
        axes.text(left + 0.15, FOOT + high - 0.15, f"{room}/", fontsize=18, weight="bold", va="top")
        middle = left + wide / 2
        at = {one: (middle + x, FOOT + 0.5 + RISE * floor) for one, (x, floor) in boxes.items()}
        for one, (x, y) in at.items():
            for other in shown[one]:
                _down(axes, (x, y), at[other], middle)
            _box(axes, x - WIDTH / 2, y - TALL / 2, WIDTH, TALL, ROOMS[room])
            title, small = label(one)
            centred = {"ha": "center", "va": "center"}
            lines = 1 + title.count("\n")
            size = 14 if small else 10.5 if lines < 3 else min(9, 45 / lines)
            axes.text(
                x, y + bool(small) * 0.1, title, fontsize=size, weight="bold", zorder=4, **centred
            )
            axes.text(x, y - 0.17, small, fontsize=10.5, color=LINE, zorder=4, **centred)
        left += wide + SPACE
    for one, other in sorted(between):
        _between(axes, edges[one], edges[other], FOOT + high / 2)
    return figure


def _box(
    axes: Axes, x: float, y: float, wide: float, high: float, colour: str, layer: int = 3
) -> None:
    look = {"boxstyle": "round,pad=0,rounding_size=0.09", "fc": colour, "ec": LINE, "zorder": layer}
    axes.add_patch(FancyBboxPatch((x, y), wide, high, **look))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 13, "lw": 1.3, "color": LINE, "zorder": 2}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))


def _down(axes: Axes, start: tuple[float, float], end: tuple[float, float], middle: float) -> None:
    """An arrow between boxes; one that skips a floor goes around the boxes there."""
    (x, y), (to, low) = start, end
    if y - low < 1.5 * RISE:
        _arrow(axes, (x, y - TALL / 2), (to, low + TALL / 2))
    elif abs(x - to) > WIDTH:
        axes.plot([x, x], [y - TALL / 2, low], color=LINE, linewidth=1.3, zorder=2)
        _arrow(axes, (x, low), (to + (WIDTH / 2 if x > to else -WIDTH / 2), low))
    else:
        side = WIDTH / 2 if x > middle else -WIDTH / 2
        around = max(x + side, to + side) + 0.1 if side > 0 else min(x + side, to + side) - 0.1
        way = [x + side, around, around], [y, y, low]
        axes.plot(*way, color=LINE, linewidth=1.3, zorder=2)
        _arrow(axes, (around, low), (to + side, low))


def _between(
    axes: Axes, one: tuple[float, float], other: tuple[float, float], middle: float
) -> None:
    """An arrow from room to room: across the space between neighbours, else below the rooms."""
    if abs(one[0] - other[1]) < 2 * SPACE or abs(other[0] - one[1]) < 2 * SPACE:
        start, end = (one[1], other[0]) if one[0] < other[0] else (one[0], other[1])
        _arrow(axes, (start, middle), (end, middle))
        return
    start, end = sum(one) / 2, sum(other) / 2
    axes.plot([start, start, end], [FOOT, 0.2, 0.2], color=LINE, linewidth=1.3, zorder=3)
    _arrow(axes, (end, 0.2), (end, FOOT))


def main() -> int:
    """Write the picture."""
    target = ROOT / "docs" / "images" / "architecture.png"
    draw().savefig(target, metadata={"Software": "cxr-retrieval"})
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
