"""Films as points of a map that one can move, zoom and draw a line around: a component of ours.

Its HTML, CSS and JavaScript are files of ours; what comes from data goes in as JSON and is drawn on
a canvas or set as text, never as markup.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from ui.dashboard.components.colouring import Colouring

#: Places on the map run from 0 to this, along both axes.
WHOLE = 65535
#: Most corners of a line that are looked at.
CORNERS = 1000
_LONGEST_SHARED = 90

_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "cxr-retrieval.scatter",
    html=(_HERE / "scatter.html").read_text("utf-8"),
    css=(_HERE / "scatter.css").read_text("utf-8"),
    js=(_HERE / "scatter.js").read_text("utf-8"),
)


def on_grid(places: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Places stretched to fill the map: float32 (n, 2), finite, to uint16 (n, 2)."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1)
    found: npt.NDArray[np.uint16] = np.round((places - low) / span * WHOLE).astype(np.uint16)
    return found


def pack(grid: npt.NDArray[np.uint16], ids: Sequence[str], colours: Colouring) -> dict[str, Any]:
    """The points as the browser takes them: 100,000 films are about a megabyte.

    Args:
        grid: uint16 (n, 2), from ``on_grid``.
        ids: of the films, ascending: each is sent as what differs from the one before.
        colours: of the films.
    """
    return {
        "places": base64.b64encode(np.ascontiguousarray(grid.T, "<u2").tobytes()).decode(),
        "codes": base64.b64encode(colours.codes.tobytes()).decode(),
        "ids": _shortened(ids),
        "legend": [asdict(entry) for entry in colours.legend],
        "range": list(colours.range) if colours.range else None,
    }


def _shortened(ids: Sequence[str]) -> str:
    before, lines = "", []
    for id_ in ids:
        shown = id_ if id_.isascii() and id_.isprintable() else _drawable(id_)
        shared = _shared(before, shown)
        lines.append(chr(33 + shared) + shown[shared:])
        before = shown
    return "\n".join(lines)


def _drawable(id_: str) -> str:
    # The browser counts UTF-16 units, Python code points: alike only below U+10000.
    return "".join(c if c.isprintable() and ord(c) < 0x10000 else "\ufffd" for c in id_)


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    most = min(len(one), len(other), _LONGEST_SHARED)
    return min(next((at for at, (left, right) in pairs if left != right), most), most)


def outline_of(sent: Any) -> npt.NDArray[np.float64]:
    """The line that a browser sent, float64 (m, 2); empty unless it is one."""
    none = np.zeros((0, 2))
    if not isinstance(sent, list) or not 3 <= len(sent) <= CORNERS:
        return none
    try:
        found = np.asarray(sent, np.float64)
    except (TypeError, ValueError):
        return none
    return found if found.shape == (len(sent), 2) and np.isfinite(found).all() else none


def scatter(
    key: str,
    points: Mapping[str, Any],
    *,
    version: str,
    place: str,
    by: str,
    axes: str,
    label: str,
    marks: Sequence[tuple[int, str]] = (),
    outline: Sequence[Sequence[float]] | None = None,
    on_outline: Callable[[], None],
    on_peek: Callable[[], None],
    on_open: Callable[[], None],
) -> Any:
    """Draw the map.

    Args:
        key: of the component; its state is in the session under it.
        points: from ``pack``.
        version: changes whenever ``points`` do.
        place: changes whenever the places do: the view is then fitted anew.
        by: the column that colours.
        axes: what the axes are.
        label: the map in words, for a screen reader.
        marks: points to write on: position and at most two letters; ``?`` is the query.
        outline: the line that is drawn around a selection, in places of the map.
        on_outline: called when a line was drawn or taken away.
        on_peek: called when a pointer rests on a film.
        on_open: called when a film is clicked.

    Returns:
        The component's state: ``outline`` (a list of corners), ``peek`` and ``open`` (positions).
    """
    return _component(
        key=key,
        data={
            **points,
            "version": version,
            "place": place,
            "by": by,
            "axes": axes,
            "label": label,
            "marks": [{"at": at, "name": name} for at, name in marks],
            "outline": None if outline is None else [list(corner) for corner in outline],
        },
        on_outline_change=on_outline,
        on_peek_change=on_peek,
        on_open_change=on_open,
    )
