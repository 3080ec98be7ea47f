"""Lists of films that a visitor goes through one by one: hits, a page of films, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

_LISTS = "film-lists"
#: Lists kept, the last ones used; films kept of one.
_LISTS_MAX, _FILMS_MAX = 30, 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a film is in the list that it was opened from.

    Attributes:
        at: its position, from 0.
        count: of the list's films.
        before, after: ids beside it; None at an end.
    """

    at: int
    count: int
    before: str | None
    after: str | None


def remember(name: str, ids: Sequence[str]) -> None:
    """Keep a list that this page shows, for the pages of its films."""
    kept: dict[str, tuple[str, ...]] = st.session_state.setdefault(_LISTS, {})
    kept.pop(name, None)
    kept[name] = tuple(ids[:_FILMS_MAX])
    while len(kept) > _LISTS_MAX:
        del kept[next(iter(kept))]


def place(name: str, id_: str) -> Place | None:
    """Where a film is in a list; None where this visit knows no such list, or it is not in it."""
    kept: dict[str, tuple[str, ...]] = st.session_state.get(_LISTS, {})
    if id_ not in kept.get(name, ()):
        return None
    ids = kept[name] = kept.pop(name)  # the last one used
    at = ids.index(id_)
    return Place(
        at,
        len(ids),
        ids[at - 1] if at else None,
        ids[at + 1] if at + 1 < len(ids) else None,
    )
