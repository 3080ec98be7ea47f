"""Addresses: a search as query parameters of the page, and back. No Streamlit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingest.encoders import LONG_TEXT
from store import RRF, BadQuery, Fusion, Range, counted, parse_fusion, parse_weights
from ui.dashboard.components.html import clean, cut
from ui.dashboard.search import ranges
from ui.dashboard.search.ranges import AGE, OWN, Choice, Known, column
from ui.dashboard.search.state import (
    DEPTH_MAX,
    FACETS,
    K_DEFAULT,
    K_MAX,
    K_MIN,
    MARKS_MAX,
    NAMES,
    Search,
)

#: The value of the key ``patients``, and the only one it has.
OTHERS = "other"
#: The value of the key ``negated``.
YES = "yes"
#: Longest sentence and longest id that are looked at, in characters.
TEXT_MAX, ID_MAX = 2000, 512
_VALUES_MAX = 50

Params = Mapping[str, Sequence[str]]


def to_link(search: Search) -> dict[str, list[str]]:
    """Query parameters of a search, without defaults. An upload leaves no trace."""
    given = search.given
    if search.upload is not None:  # what depends on it would mean something else without it
        given = {
            name: value
            for name, value in given.items()
            if name in ("filters", "k", "other_patients")
        }
    link: dict[str, list[str]] = {}
    for name, value in given.items():
        if name == "negated":
            link[NAMES[name][0]] = [YES]
            continue
        parts = value if name == "filters" else {NAMES[name][0]: value}
        link.update({key: written(part) for key, part in parts.items()})
    return link


def written(value: object) -> list[str]:
    """The texts of one field of a search."""
    if value is True:
        return [OTHERS]
    return list(value) if isinstance(value, tuple) else [str(value)]


def from_link(params: Params, known: Known) -> tuple[Search, list[str]]:
    """Read a link that anyone may have written.

    Args:
        params: query parameters, each with all its values.
        known: facet -> the values, or the range, that the gallery has.

    Returns:
        The search, and one sentence for everything in the link that was not followed.
    """
    notes: list[str] = []
    id_ = _id(params, "id", notes)
    text = _one(params, "text")
    if id_ and text:
        notes.append("The link names both an id and a text; the id is used.")
        text = ""
    if len(text) > TEXT_MAX:
        notes.append(
            f"The link's text has {len(text)} characters; the first {TEXT_MAX} are searched."
        )
        text = text[:TEXT_MAX].strip()
    words = _one(params, "words")
    if len(words) > TEXT_MAX:
        notes.append(f"The link's words have {len(words)} characters; {TEXT_MAX} are searched.")
        words = words[:TEXT_MAX].strip()
    k = _number(params, "k", (K_MIN, K_DEFAULT, K_MAX), "hits", notes)
    search = Search(
        id=id_,
        text=text or None,
        words=words or None,
        negated=_one(params, "negated") == YES,
        fusion=_fusion(params, notes),
        k=k,
        long_text=_long_text(params, notes),
        other_patients=_others(params, notes),
    )
    for facet in dict.fromkeys([*FACETS, *known]):
        search = search.choose(facet, _chosen(params, facet, known.get(facet, ()), notes))
    _unknown(params, known, notes)
    search = _with_marks(search, params, notes)
    if not search.asked:
        return search, notes
    last = DEPTH_MAX // k
    page = _number(params, "page", (1, 1, last), "page", notes)
    return replace(search, page=page, pair=_id(params, "with", notes)), notes


def _long_text(params: Params, notes: list[str]) -> str:
    asked = _one(params, "long") or LONG_TEXT[0]
    if asked in LONG_TEXT:
        return asked
    notes.append(f"The link searches long texts by {cut(asked, 20)!r}, which is none of the ways.")
    return LONG_TEXT[0]


def _fusion(params: Params, notes: list[str]) -> Fusion:
    asked = _one(params, "fusion") or RRF
    try:
        return parse_fusion(asked)
    except BadQuery:
        notes.append(f"The link fuses by {cut(asked, 20)!r}, which is none of the ways.")
        return RRF


def _chosen(params: Params, facet: str, known: Choice, notes: list[str]) -> list[str]:
    """The values of one filter that the gallery has, or its range."""
    if isinstance(known, Range):
        texts = [clean(text) for text in params.get(facet, ())]
        if len(texts) > 1:
            notes.append(f"The link has {len(texts)} ranges of {column(facet)}; the last is used.")
        text, problem = ranges.read(facet, known, texts[-1]) if texts else ("", None)
        notes += [problem] if problem else []
        return [text] if text else []
    asked = list(dict.fromkeys(params.get(facet, ())))[:_VALUES_MAX]
    found = [value for value in asked if value in known]
    notes += [
        f"This gallery has no {column(facet)} {cut(value)!r}; that filter of the link is off."
        for value in asked
        if value not in found
    ]
    return found


def _unknown(params: Params, known: Known, notes: list[str]) -> None:
    """Say which filters of a link this gallery does not have at all."""
    if AGE in params and AGE not in known:
        notes.append("This gallery has no ages; that filter of the link is off.")
    names = [column(key) for key in params if key.startswith(OWN) and key not in known]
    if names:
        shown = ", ".join(repr(cut(name, 40)) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        notes.append(
            f"This page has no filter on the column {shown}{more}; that part of the link is off."
        )


def _with_marks(search: Search, params: Params, notes: list[str]) -> Search:
    for key, sign in (("unlike", "-"), ("like", "+")):
        asked = [id_.strip() for id_ in params.get(key, ()) if 0 < len(id_.strip()) <= ID_MAX]
        if len(asked) > MARKS_MAX:
            notes.append(
                f"The link marks {counted(len(asked), 'film')} {sign}; {MARKS_MAX} are used."
            )
        for id_ in dict.fromkeys(asked[:MARKS_MAX]):
            search = search.mark(id_, sign)
    if search.unlike and not search.asked:
        notes.append("The link only says what films should be unlike; nothing is searched.")
        search = search.unmarked()
    if asked_weights := _one(params, "weights"):
        try:
            search = replace(search, weights=parse_weights(asked_weights[:100]))
        except BadQuery:
            notes.append(
                f"The link's weights {cut(asked_weights, 20)!r} are not three numbers from 0 to "
                f"10; {search.weights} are used."
            )
    return search


def _others(params: Params, notes: list[str]) -> bool:
    asked = _one(params, "patients")
    if asked and asked != OTHERS:
        notes.append(f"The link asks for patients {cut(asked, 20)!r}; only {OTHERS!r} is known.")
    return asked == OTHERS


def _one(params: Params, key: str) -> str:
    values = params.get(key, ())
    return clean(values[-1]) if values else ""


def _id(params: Params, key: str, notes: list[str]) -> str | None:
    id_ = params[key][-1].strip() if params.get(key) else ""
    if len(id_) > ID_MAX:
        notes.append(f"The link's id has {len(id_)} characters, more than {ID_MAX}; it is ignored.")
        return None
    return id_ or None


def _number(
    params: Params, key: str, bounds: tuple[int, int, int], name: str, notes: list[str]
) -> int:
    low, default, high = bounds
    asked = _one(params, key)
    if not asked:
        return default
    number = default
    if asked.isascii() and asked.removeprefix("-").isdigit() and len(asked) < 20:
        number = min(max(int(asked), low), high)
        if number == int(asked):
            return number
    what = f"{cut(asked, 20)!r} hits" if name == "hits" else f"{name} {cut(asked, 20)!r}"
    notes.append(f"The link asks for {what}; this page shows {low} to {high}, here {number}.")
    return number
