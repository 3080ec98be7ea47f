"""Two films side by side, moved and windowed together: a Streamlit component of our own.

Its HTML, CSS and JavaScript are files of ours; what comes from data goes in as JSON and is drawn on
a canvas or set as text, never as markup.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

if TYPE_CHECKING:
    from ingest import Agreement


_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "cxr-retrieval.viewer",
    html=(_HERE / "viewer.html").read_text("utf-8"),
    css=(_HERE / "viewer.css").read_text("utf-8"),
    js=(_HERE / "viewer.js").read_text("utf-8"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """One film of the viewer.

    Attributes:
        title: above it.
        png: 8-bit.
        map: where it agrees with the other side, if that is known.
    """

    title: str
    png: bytes
    map: Agreement | None = None


def viewer(panes: list[Pane], key: str) -> None:
    """Draw one or two films; window, zoom, pan, flip and inversion go for both."""
    _component(key=key, data={"panes": [_data(pane) for pane in panes], "span": span(panes)})


def span(panes: list[Pane]) -> float:
    """Largest distance of a patch from the mean of its map: the full strength of the colours."""
    away = [
        float(np.abs(pane.map.values - pane.map.score).max())
        for pane in panes
        if pane.map is not None
    ]
    return max([*away, 1e-6])


def _data(pane: Pane) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": pane.title,
        "png": base64.b64encode(pane.png).decode(),
    }
    if pane.map is not None:
        rows, columns = pane.map.values.shape
        found["map"] = {
            "rows": rows,
            "columns": columns,
            "values": [round(float(value), 4) for value in pane.map.values.ravel()],
            "mean": pane.map.score,
            "box": list(pane.map.box),
        }
    return found
