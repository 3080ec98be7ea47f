"""The search: a query, filters, marks and a page, as the search page shows it. No Streamlit here.

A search is written down in many ways: as an address, as a title in the history, as a command line,
as a script, as JSON. ``NAMES`` says what each of its fields is called there, and ``Search.given``
which fields there is something to write of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from store import COLUMNS, RRF, Fusion, Weights, Where, own_range
from ui.dashboard.search.ranges import AGE, column

#: How many hits a page has: least, most, and when nobody says.
K_MIN, K_MAX, K_DEFAULT = 1, 50, 10
#: Depth of the last page, in hits; the command line goes deeper.
DEPTH_MAX = 1000
#: Most films marked +, and most films marked −.
MARKS_MAX = 20
#: Filters on values, the outcome beside the labels: key in an address -> name for people. After
#: them come AGE and, under a prefix, own columns; see ranges.
_COUNTED = {column.key: column.title for column in COLUMNS.values() if column.counted}
FACETS = {"label": _COUNTED["label"], "outcome": "Findings", **_COUNTED}

Filters = Mapping[str, tuple[str, ...]]


#: Fields of a search in the order they are written: name -> key in an address, option of
#: ``cxr search``; "" where it has none. In an address every filter has its own key.
NAMES = {
    "id": ("id", "--id"),
    "text": ("text", "--text"),
    "long_text": ("long", "--long-text"),
    "upload": ("", "--image"),
    "words": ("words", "--words"),
    "negated": ("negated", "--negated"),
    "fusion": ("fusion", "--fusion"),
    "filters": ("", "--where"),
    "k": ("k", "-k"),
    "page": ("page", "--page"),
    "like": ("like", "--like"),
    "unlike": ("unlike", "--unlike"),
    "weights": ("weights", "--weights"),
    "other_patients": ("patients", "--other-patients"),
    "pair": ("with", ""),
}


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An uploaded or pasted film: in this visit's memory only, never in a link or on disk.

    Attributes:
        name: file name as uploaded, for display.
        thumbnail: PNG.
        digests: sha256 of the file and of its pixels: a gallery keeps one or the other.
        width, height: of the source, in pixels.
        vector: float32 (d,), unit length.
        fingerprint: of the encoder that made the vector.
        picture: PNG, larger than the thumbnail where the source is; for looking at it closely.
    """

    name: str
    thumbnail: bytes
    digests: tuple[bytes, bytes]
    width: int
    height: int
    vector: npt.NDArray[np.float32]
    fingerprint: str
    picture: bytes = b""


@dataclass(frozen=True, slots=True)
class Search:
    """A search: everything that decides what the search page shows.

    At most one of ``id``, ``text`` and ``upload`` is set. ``words`` stand alone or beside it.

    Attributes:
        words: words of reports.
        negated: whether these are found where a report says they are absent, too.
        fusion: how words and the rest make one list; see Gallery.search_words.
        long_text: how a text is searched that is longer than the encoder reads: ``cut``, ``mean``
            or ``best``.
        filters: facet -> chosen values, of age and of numbers and days one range; a facet without a
            choice is absent.
        k: how many hits a page has.
        page: from 1.
        like, unlike: ids of films marked + and −, in the order they were marked.
        weights: of the query and of the marks; without marks they play no part.
        other_patients: whether films of the query's own patient are left out.
        pair: id of the film that is looked at beside the query, if any.
    """

    id: str | None = None
    text: str | None = None
    long_text: str = "cut"
    upload: Upload | None = None
    words: str | None = None
    negated: bool = False
    fusion: Fusion = RRF
    filters: Filters = field(default_factory=dict)
    k: int = K_DEFAULT
    page: int = 1
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    weights: Weights = field(default_factory=Weights)
    other_patients: bool = False
    pair: str | None = None

    @property
    def asked(self) -> bool:
        """Whether there is anything to search for."""
        return self.has_vector or self.words is not None

    @property
    def has_vector(self) -> bool:
        """Whether vectors are searched: not by words of reports alone."""
        return self.has_query or bool(self.like)

    @property
    def beside(self) -> str | None:
        """What is asked beside the words, in one word; None where nothing is."""
        if self.text is not None:
            return "text"
        if self.upload is not None:
            return "picture"
        return "film" if self.id is not None else "films" if self.like else None

    @property
    def has_query(self) -> bool:
        """Whether there is a film, an upload or a sentence, marks aside."""
        return self.id is not None or self.text is not None or self.upload is not None

    @property
    def given(self) -> dict[str, Any]:
        """Fields that are not at their default, by name.

        Weights only where films are marked, the way to search long texts only of a text.
        """
        alone = self.words is None or not self.has_vector
        found = {name: getattr(self, name) for name in NAMES}
        idle = {
            "weights": not self.marks,
            "long_text": self.text is None,
            "negated": self.words is None,
            "fusion": alone,
        }
        return {
            name: value
            for name, value in found.items()
            if value != getattr(_DEFAULT, name) and not idle.get(name)
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``store.refined_search`` that are not at their default, but query and k."""
        found: dict[str, Any] = {"like": self.like, "unlike": self.unlike, "where": self.where}
        found["other_patients"] = self.other_patients
        given = {name: value for name, value in found.items() if value}
        return {**given, "weights": self.weights} if self.marks else given

    @property
    def subject(self) -> str:
        """The query in words, without marks and filters."""
        said = [] if self.words is None else [f"reports with “{self.words}”"]
        if self.text is not None:
            said.insert(0, f"“{self.text}”")
        elif self.id or self.upload is not None or self.like:
            said.insert(0, self.id or (self.upload.name if self.upload else "the marked films"))
        return " and ".join(said)

    @property
    def marks(self) -> tuple[str, ...]:
        """Ids of all marked films."""
        return (*self.like, *self.unlike)

    @property
    def depth(self) -> int:
        """Hits up to the end of this page."""
        return self.k * self.page

    @property
    def where(self) -> Where | None:
        """The filters as the store takes them."""
        return where(self.filters)

    def ask(
        self,
        *,
        id: str | None = None,  # noqa: A002
        text: str | None = None,
        upload: Upload | None = None,
    ) -> Search:
        """The same filters with another query, or with none.

        A sentence joins the marked films and the words; another film starts afresh.
        """
        kept = self if text is not None else replace(self.unmarked(), words=None)
        return replace(kept, id=id, text=text, upload=upload, page=1, pair=None)

    def ask_words(self, words: str | None) -> Search:
        """The same query with words of reports, which join what is asked; or without any."""
        return replace(self, words=words, page=1, pair=None)

    def choose(self, facet: str, values: Sequence[str]) -> Search:
        """The same query with other values of one filter."""
        filters = {name: found for name, found in self.filters.items() if name != facet}
        if values:
            filters[facet] = tuple(values)
        kept = {name: filters[name] for name in sorted(filters, key=_order)}
        return replace(self, filters=kept, page=1, pair=None)

    def unfiltered(self) -> Search:
        """The same query without filters."""
        return replace(self, filters={}, page=1, pair=None)

    def mark(self, id_: str, sign: str | None) -> Search:
        """The same query with one film marked ``+`` or ``-``, or its mark taken off."""
        like = tuple(film for film in self.like if film != id_)
        unlike = tuple(film for film in self.unlike if film != id_)
        if sign == "+":
            like = (*like, id_)[-MARKS_MAX:]
        elif sign == "-":
            unlike = (*unlike, id_)[-MARKS_MAX:]
        return replace(self, like=like, unlike=unlike, page=1, pair=None)

    def unmarked(self) -> Search:
        """The same query without marks."""
        return replace(self, like=(), unlike=(), weights=Weights(), page=1, pair=None)


_DEFAULT = Search()


def _order(facet: str) -> tuple[int, str]:
    order = [*FACETS, AGE]
    return (order.index(facet) if facet in order else len(order)), facet


def where(filters: Filters) -> Where | None:
    """Filters as the store takes them; None when there is none."""
    if not filters:
        return None
    low, high = own_range(AGE, "float", filters[AGE][0]) if AGE in filters else (None, None)
    named = {field.name for field in fields(Where)}
    values: dict[str, Any] = {facet: chosen for facet, chosen in filters.items() if facet != AGE}
    return Where(
        age_min=low,
        age_max=high,
        extra=tuple(
            (column(facet), value)
            for facet, chosen in values.items()
            if facet not in named
            for value in chosen
        ),
        **{facet: chosen for facet, chosen in values.items() if facet in named},
    )


def pages(films: int, k: int) -> int:
    """Number of pages of k hits that some films fill, from 1 to the last one there is."""
    return max(1, min(-(-films // k), DEPTH_MAX // k))
