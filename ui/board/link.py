"""What a search is, and how it goes into a link and comes back. No Streamlit here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from store import Where

#: How many hits are shown: least, most, and when nobody says.
K_MIN, K_MAX, K_DEFAULT = 1, 50, 10
#: Longest sentence and longest id that are looked at, in characters.
TEXT_MAX, ID_MAX = 300, 512
#: Filters that a link carries, in the order they are shown: link key -> what a person calls it.
FACETS = {"label": "Label", "split": "Split", "dataset": "Dataset"}
_VALUES_MAX = 50


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An uploaded film: kept in this visit's memory only, never in a link or on disk.

    Attributes:
        name: file name as uploaded, for display.
        thumbnail: PNG.
        digests: sha256 of the file and of its pixels: a gallery keeps one or the other.
        width, height: of the source, in pixels.
        vector: float32 (d,), unit length.
        fingerprint: of the encoder that made the vector.
    """

    name: str
    thumbnail: bytes
    digests: tuple[bytes, bytes]
    width: int
    height: int
    vector: npt.NDArray[np.float32]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Search:
    """Everything that decides what the search page shows.

    At most one of ``id``, ``text`` and ``upload`` is set.

    Attributes:
        filters: facet -> chosen values; a facet without a choice is absent.
        k: how many hits.
    """

    id: str | None = None
    text: str | None = None
    upload: Upload | None = None
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    k: int = K_DEFAULT

    @property
    def asked(self) -> bool:
        """Whether there is a query at all."""
        return self.id is not None or self.text is not None or self.upload is not None

    def ask(
        self,
        *,
        id: str | None = None,  # noqa: A002
        text: str | None = None,
        upload: Upload | None = None,
    ) -> Search:
        """The same filters with another query, or with none."""
        return replace(self, id=id, text=text, upload=upload)

    def choose(self, facet: str, values: Sequence[str]) -> Search:
        """The same query with other values of one filter."""
        filters = {name: found for name, found in self.filters.items() if name != facet}
        if values:
            filters[facet] = tuple(values)
        return replace(self, filters={name: filters[name] for name in FACETS if name in filters})

    @property
    def where(self) -> Where | None:
        """The filters as the store takes them."""
        return where(self.filters)


def where(filters: Mapping[str, tuple[str, ...]]) -> Where | None:
    """Filters as the store takes them; None when there is none."""
    if not filters:
        return None
    return Where(
        label=filters.get("label", ()),
        split=filters.get("split", ()),
        dataset=filters.get("dataset", ()),
    )


def to_link(search: Search) -> dict[str, list[str]]:
    """Query parameters of a search, without what is the default. An upload leaves no trace."""
    link: dict[str, list[str]] = {}
    if search.id is not None:
        link["id"] = [search.id]
    elif search.text is not None:
        link["text"] = [search.text]
    link.update({facet: list(values) for facet, values in search.filters.items()})
    if search.k != K_DEFAULT:
        link["k"] = [str(search.k)]
    return link


def from_link(
    params: Mapping[str, Sequence[str]], known: Mapping[str, Collection[str]]
) -> tuple[Search, list[str]]:
    """Read a link that anyone may have written.

    Args:
        params: query parameters, each with all its values.
        known: facet -> the values that the gallery has.

    Returns:
        The search, and one sentence for everything in the link that was not followed.
    """
    notes: list[str] = []
    id_ = params["id"][-1].strip() if params.get("id") else ""
    text = _one(params, "text")
    if id_ and text:
        notes.append("The link names both an id and a text; the id is used.")
        text = ""
    if len(id_) > ID_MAX:
        notes.append(f"The link's id has {len(id_)} characters, more than {ID_MAX}; it is ignored.")
        id_ = ""
    if len(text) > TEXT_MAX:
        notes.append(
            f"The link's text has {len(text)} characters; the first {TEXT_MAX} are searched."
        )
        text = text[:TEXT_MAX].strip()
    search = Search(id=id_ or None, text=text or None, k=_hits(params, notes))
    for facet in FACETS:
        asked = list(dict.fromkeys(params.get(facet, ())))[:_VALUES_MAX]
        found = [value for value in asked if value in known.get(facet, ())]
        search = search.choose(facet, found)
        notes += [
            f"This gallery has no {facet} {cut(value)!r}; that filter of the link is off."
            for value in asked
            if value not in found
        ]
    return search, notes


def clean(text: str) -> str:
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cut(text: str, most: int = 60) -> str:
    """The beginning of a text, for a message."""
    text = clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _one(params: Mapping[str, Sequence[str]], key: str) -> str:
    values = params.get(key, ())
    return clean(values[-1]) if values else ""


def _hits(params: Mapping[str, Sequence[str]], notes: list[str]) -> int:
    asked = _one(params, "k")
    if not asked:
        return K_DEFAULT
    if asked.isascii() and asked.removeprefix("-").isdigit() and len(asked) < 20:
        k = min(max(int(asked), K_MIN), K_MAX)
        if k == int(asked):
            return k
    else:
        k = K_DEFAULT
    notes.append(
        f"The link asks for {cut(asked, 20)!r} hits; this page shows {K_MIN} to {K_MAX}, here {k}."
    )
    return k
