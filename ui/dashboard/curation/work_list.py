"""Work list of doubtful labels: which films are left, where the visitor is, what was decided.

The list is made once and kept while it is worked through: a correction changes who is doubtful, and
a list that moves under one's hands cannot be worked through. Decisions are in the gallery at once;
who closes the window and comes back goes on with those that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from store import Correction, Curation, Doubt, Gallery, Result, Row
from ui.dashboard.curation import acts

_WORK = "work-list"


@dataclass(slots=True)
class Work:
    """A visitor's work list.

    Attributes:
        uri: of the gallery.
        doubts: films, the most doubtful first.
        at: which is shown.
        operations: what was decided here, in the log.
        decided: film to what was decided, in one word.
    """

    uri: str
    doubts: list[Doubt]
    at: int = 0
    operations: list[str] = field(default_factory=list)
    decided: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Films that nothing was decided of here."""
        return sum(one.film.id not in self.decided for one in self.doubts)

    def counts(self) -> dict[str, int]:
        """Decisions by what they are."""
        found: dict[str, int] = {}
        for one in self.decided.values():
            found[one] = found.get(one, 0) + 1
        return found


def current(gallery: Gallery) -> Work | None:
    """The list that this visitor works through; None where there is none."""
    found = st.session_state.get(_WORK)
    return found if isinstance(found, Work) and found.uri == gallery.uri else None


def begin(gallery: Gallery, doubts: Sequence[Doubt]) -> None:
    """Begin with these films, without those that somebody decided of before."""
    st.session_state[_WORK] = Work(gallery.uri, list(doubts))


def end() -> None:
    """Go back to the list of all doubts."""
    st.session_state.pop(_WORK, None)


def open_doubts(gallery: Gallery, doubts: Sequence[Doubt]) -> list[Doubt]:
    """The doubts about films whose labels nobody corrected or confirmed as they are."""
    kept = gallery.kept()
    if not kept.stated:
        return list(doubts)
    rows = gallery.rows([one.film.id for one in doubts if one.film.id in kept.stated])
    settled = {id_ for id_, row in rows.items() if kept.holds_labels(row)}
    return [one for one in doubts if one.film.id not in settled]


def step(by: int) -> None:
    """Go to the next film, or the one before."""
    work = st.session_state.get(_WORK)
    if isinstance(work, Work):
        work.at = max(0, min(work.at + by, len(work.doubts)))


def confirm(id_: str) -> None:
    """The labels are right."""
    _decide(id_, "confirmed", lambda found: found.confirm([id_]))


def change(id_: str, correction: Correction) -> None:
    """The labels are others."""
    _decide(id_, "changed", lambda found: found.label([id_], correction))


def exclude(id_: str) -> None:
    """The film is of no use."""
    _decide(id_, "excluded", lambda found: found.exclude([id_]))


def _decide(id_: str, word: str, act: Callable[[Curation], Result]) -> None:
    """Decide of the film that is shown, and go to the next one."""
    work = st.session_state.get(_WORK)
    if not isinstance(work, Work):
        return
    shown = work.doubts[work.at].film.id if work.at < len(work.doubts) else None
    if id_ != shown:  # a key that was pressed before the next film was drawn
        st.toast("Too quick: the next film was not there yet. Nothing was done.")
        return
    result = acts.do(act, bar=False)
    if result is None:
        return
    work.decided[id_] = word
    if result.operation is not None:
        work.operations.append(result.operation.id)
    step(1)


def taken_back() -> None:
    """Take the last decision back, and show its film again."""
    work = st.session_state.get(_WORK)
    if not isinstance(work, Work) or not work.operations:
        return
    last = work.operations[-1]
    result = acts.do(lambda found: found.undo(last), bar=False)
    if result is None or result.operation is None:
        return
    work.operations.append(result.operation.id)
    for film in result.changed:
        work.decided.pop(film, None)
        work.at = next(at for at, one in enumerate(work.doubts) if one.film.id == film)
    work.operations = [one for one in work.operations if one not in (last, result.operation.id)]


def offers(one: Doubt, row: Row, names: Sequence[str]) -> list[tuple[str, Correction]]:
    """Corrections to offer as buttons, at most nine: a name, and what it says.

    Args:
        one: the doubt.
        row: the film as it is now.
        names: all labels of the gallery, the most frequent first.
    """
    found: list[tuple[str, Correction]] = []
    if len(row.labels) <= 1 and not one.unsupported[1:]:
        found += [(name, Correction.of([name])) for name in names if (name,) != row.labels]
        if row.labels:
            found.append(("no finding", Correction.of([])))
        said = [one.said, *(vote.finding for vote in one.missing)]
        found.sort(key=lambda offer: offer[0] not in said)
    else:
        found += [
            (f"not {vote.finding}", Correction.of(remove=[vote.finding]))
            for vote in one.unsupported
            if vote.finding in row.labels
        ]
        found += [
            (f"also {vote.finding}", Correction.of(add=[vote.finding]))
            for vote in one.missing
            if vote.finding not in row.labels
        ]
        found.append(("no finding", Correction.of([])))
    return found[:9]


def summary(counts: Mapping[str, int]) -> str:
    """Decisions in words, e.g. ``4 changed, 1 confirmed``."""
    return ", ".join(f"{count:,} {word}" for word, count in sorted(counts.items()))
