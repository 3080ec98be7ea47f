"""The listing: which films the page "Films" shows, as an address and back. No Streamlit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ui.dashboard.components.html import cut
from ui.dashboard.search import link
from ui.dashboard.search.ranges import AGE, Known, column, own
from ui.dashboard.search.state import Filters, Search

#: Films on a page.
SIZE = 20
#: Orders that are there in every gallery: by id, by the day of the ingestion, by doubtful labels.
ID, ADDED, DOUBT = "id", "added", "doubt"
_TITLES = {ID: "Id", ADDED: "Date added", AGE: "Age", DOUBT: "Doubt of the label"}
#: What the two directions are called, ascending first, by kind of order.
_WORDS = {
    ID: ("A to Z", "Z to A"),
    "date": ("Oldest first", "Newest first"),
    AGE: ("Youngest first", "Oldest first"),
    DOUBT: ("Least doubtful first", "Most doubtful first"),
    "number": ("Smallest first", "Largest first"),
}
#: Orders that begin with the greatest value where nobody says otherwise.
_DOWN = (ADDED, DOUBT, "date")
_PAGE_MAX = 10**7


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing of films.

    Attributes:
        filters: facet -> chosen values, as those of a search.
        by: what the films are sorted by: a key of ``orders``.
        down: whether the greatest value comes first.
        page: from 1.
    """

    filters: Filters = field(default_factory=dict)
    by: str = ID
    down: bool = False
    page: int = 1


def orders(columns: Mapping[str, str], known: Known, with_doubt: bool) -> dict[str, str]:
    """What films of a gallery can be sorted by: key in addresses -> kind of order.

    Args:
        columns: own columns to their kinds.
        known: filters that the gallery has: a gallery without ages is not sorted by them.
        with_doubt: whether labels can be compared with those of neighbours.
    """
    found = {ID: ID, ADDED: "date"}
    found |= {own(name): "date" for name, kind in columns.items() if kind == "date"}
    found |= {AGE: AGE} if AGE in known else {}
    found |= {DOUBT: DOUBT} if with_doubt else {}
    numbers = (name for name, kind in columns.items() if kind in ("int", "float"))
    return found | {own(name): "number" for name in numbers}


def title(by: str) -> str:
    """Name of an order for people."""
    return _TITLES.get(by) or column(by)


def missing(by: str) -> str:
    """What the last films of an order are without."""
    return {AGE: "age", DOUBT: "labels to compare"}.get(by) or column(by)


def directions(kind: str) -> tuple[str, str]:
    """What ascending and descending are called in an order of a kind."""
    return _WORDS[kind]


def begins_down(kind: str, by: str) -> bool:
    """Whether an order begins with its greatest value where nobody says otherwise."""
    return kind in _DOWN or by in _DOWN


def to_link(listing: Listing, known_orders: Mapping[str, str]) -> dict[str, list[str]]:
    """Query parameters of a listing, without defaults."""
    found = link.to_link(Search(filters=listing.filters))
    if listing.by != ID:
        found["sort"] = [listing.by]
    if listing.down != begins_down(known_orders[listing.by], listing.by):
        found["order"] = ["descending" if listing.down else "ascending"]
    if listing.page > 1:
        found["page"] = [str(listing.page)]
    return found


def from_link(
    params: link.Params, known: Known, known_orders: Mapping[str, str]
) -> tuple[Listing, list[str]]:
    """Read a link that anyone may have written.

    Args:
        params: query parameters, each with all its values.
        known: facet -> the values, or the range, that the gallery has.
        known_orders: from ``orders``.

    Returns:
        The listing, and one sentence for everything in the link that was not followed.
    """
    filters = {name: values for name, values in params.items() if name not in _OURS}
    search, notes = link.from_link(filters, known)
    by = _last(params, "sort") or ID
    if by not in known_orders:
        notes.append(
            f"The link sorts by {cut(column(by), 40)!r}, which these films are not sorted by; "
            "they are by id."
        )
        by = ID
    down = begins_down(known_orders[by], by)
    if way := _last(params, "order"):
        if way in ("ascending", "descending"):
            down = way == "descending"
        else:
            notes.append(
                f"The link's order {cut(way, 20)!r} is neither ascending nor descending; it is off."
            )
    page, asked = 1, _last(params, "page")
    if asked.isascii() and asked.isdigit() and 1 <= int(asked[:20]) <= _PAGE_MAX:
        page = int(asked)
    elif asked:
        notes.append(f"The link's page {cut(asked, 20)!r} is no page; this is the first one.")
    return Listing(search.filters, by, down, page), notes


_OURS = ("sort", "order", "page", "id", "text", "like", "unlike", "weights", "with", "k", "long")


def _last(params: Mapping[str, Sequence[str]], key: str) -> str:
    values = params.get(key, ())
    return values[-1].strip() if values else ""
