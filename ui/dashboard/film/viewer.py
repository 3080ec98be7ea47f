"""Viewer of one or two films, windowed in the browser: a Streamlit component of ours.

The browser fetches an original's samples by itself, at the address that a pane names; until then,
and where there is none, it shows the thumbnail. HTML, CSS and JavaScript are files of ours; what
comes from data goes in as JSON and is drawn on a canvas or set as text, never as markup.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st

if TYPE_CHECKING:
    from ingest import Agreement


_HERE = Path(__file__).parent
#: Files of the script, one job each, joined in this order.
_SCRIPTS = ("samples", "tones", "place", "paint", "hands", "viewer")
_component = st.components.v2.component(
    "cxr-retrieval.viewer",
    html=(_HERE / "viewer.html").read_text("utf-8"),
    css=(_HERE / "viewer.css").read_text("utf-8"),
    js="\n".join((_HERE / "js" / f"{name}.js").read_text("utf-8") for name in _SCRIPTS),
)


#: How tall: in a dialog, or on a page without and with a tray below it.
Size = Literal["dialog", "page", "page low"]
SIZES: tuple[Size, Size] = "page", "page low"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the browser finds the samples of an original.

    Attributes:
        key: of the film: what was fetched under it is not fetched again in this window.
        url: of this server, for this visitor.
    """

    key: str
    url: str


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """One film of the viewer.

    Attributes:
        title: above it.
        png: the thumbnail, 8-bit; None where there is none.
        key: of the film.
        original: where its samples are; None where they are not to be had.
        said: which of the two is shown, and why, below it.
        whole: whether the thumbnail is the film itself.
        size: width and height of the original in pixels; None: those of the thumbnail.
        map: where it agrees with the other side, if that is known.
    """

    title: str
    png: bytes | None
    key: str
    original: Source | None = None
    said: str = ""
    whole: bool = False
    size: tuple[int, int] | None = None
    map: Agreement | None = None


def viewer(
    panes: Sequence[Pane],
    key: str,
    *,
    size: Size = "dialog",
    ahead: Sequence[Source] = (),
    step: Callable[[int], None] | None = None,
    before: bool = False,
    after: bool = False,
    focus: bool = True,
) -> None:
    """Draw one or two films; window, zoom, pan, turn and inversion go for both while linked.

    Args:
        panes: one or two.
        key: of the component; the same one for the next film keeps the whole screen.
        size: how tall.
        ahead: originals to fetch once those of the panes are painted.
        step: called with -1 or 1 when the visitor asks for the film before or the next one.
        before: whether there is a film before.
        after: whether there is a next one.
        focus: whether its keys work at once; else the page's own do until it is clicked.
    """

    def stepped() -> None:
        by = st.session_state[key].get("step")
        if step is not None and by in (-1, 1):
            step(by)

    _component(
        key=key,
        data={
            "panes": [_data(pane) for pane in panes],
            "span": span(panes),
            "size": size,
            "ahead": [{"key": one.key, "url": one.url} for one in ahead],
            "before": before,
            "after": after,
            "focus": focus,
        },
        on_step_change=stepped,
    )


def span(panes: Sequence[Pane]) -> float:
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
        "key": pane.key,
        "png": base64.b64encode(pane.png).decode() if pane.png is not None else None,
        "url": None if pane.original is None else pane.original.url,
        "said": pane.said,
        "instead": INSTEAD,
        "whole": pane.whole,
        "size": None if pane.size is None else list(pane.size),
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


#: Of a film whose original is not to be had.
INSTEAD = "Shown instead: its thumbnail, at most 256 pixels."
