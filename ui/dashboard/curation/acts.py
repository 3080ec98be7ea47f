"""Acts of curation by a visitor: each is on disk before the page is drawn again, and has an undo.

Every act is a button's callback. What it did is told in a bar above the page, with its undo and its
effect on Precision@k, until the visitor puts it away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from store import MANY, Correction, Curation, CxrError, Effect, Gallery, Result, Where, effect
from ui import changes
from ui.dashboard import background, shared, sign_in
from ui.dashboard.components.html import plain

#: What was done last, for the bar.
_DONE = "curation-done"
_FAILED = "curation-failed"
#: Effects that were asked for in a gallery where they take long.
_ASKED = "curation-effect-asked"
Which = Sequence[str] | Where


@dataclass(frozen=True, slots=True)
class Done:
    """What the visitor's last act did.

    Attributes:
        operation: its id in the log.
        said: in one line.
        kind: of operation.
        effect: whether it can have an effect on Precision@k.
    """

    operation: str
    said: str
    kind: str
    effect: bool


def curation() -> Curation:
    """Curation of the gallery in this visitor's name."""
    return shared.gallery().curation(sign_in.who())


def do(act: Callable[[Curation], Result], *, bar: bool = True) -> Result | None:
    """Carry out an act; None where it was refused, which is told above the page.

    Args:
        act: what to do.
        bar: whether what it did is told there, too, with its undo.
    """
    if not sign_in.may_curate():
        return None
    st.session_state.pop(_FAILED, None)
    try:
        result = act(curation())
    except CxrError as error:
        st.session_state[_FAILED] = str(error)
        return None
    if result.operation is None:
        st.toast(f"Nothing changed: {plain(changes.done(result))}.", icon=":material/info:")
        return result
    counts = result.kind not in ("tag", "note", "confirm")
    said = changes.done(result)
    if bar:
        st.session_state[_DONE] = Done(result.operation.id, said, result.kind, counts)
    st.toast(f"{plain(said)}.", icon=":material/check:")
    return result


def tag(which: Which, add: Sequence[str], remove: Sequence[str] = ()) -> None:
    """Put tags on films, and take others off."""
    do(lambda found: found.tag(which, add, remove))


def note(which: Which, text: str) -> None:
    """Write a note on films."""
    do(lambda found: found.note(which, text))


def label(which: Which, correction: Correction) -> None:
    """Correct labels of films."""
    do(lambda found: found.label(which, correction))


def confirm(which: Which) -> None:
    """Say that labels of films are right."""
    do(lambda found: found.confirm(which))


def exclude(which: Which) -> None:
    """Take films out of the gallery."""
    do(lambda found: found.exclude(which))


def delete(which: Which) -> None:
    """Delete films, with an undo."""
    do(lambda found: found.delete(which))


def include(ids: Sequence[str]) -> None:
    """Bring films back."""
    do(lambda found: found.include(ids))


def undo(operation: str, partly: bool = False) -> None:
    """Take an act back."""
    do(lambda found: found.undo(operation, partly=partly))


def put_away() -> None:
    """Put the bar away."""
    st.session_state.pop(_DONE, None)
    st.session_state.pop(_FAILED, None)


def effects(gallery: Gallery, operations: Sequence[str], key: str) -> list[Effect] | None:
    """Effect of some acts; None where it takes long and was not asked for, which a button offers.

    Args:
        gallery: as this run of the page sees it.
        operations: of the log.
        key: of the button.
    """
    if not operations or not gallery.in_memory:
        return None
    of = ("effect", shared.key(gallery), tuple(operations))
    asked = st.session_state.get(_ASKED) == gallery.uri
    if len(gallery) > MANY and not asked and not background.known(of):
        if st.button("What did it do to P@k?", key=f"effect-{key}", type="tertiary"):
            st.session_state[_ASKED] = gallery.uri
            st.rerun()
        return None
    return background.result(
        of, "Comparing before and after", lambda tell: effect(gallery, operations, progress=tell)
    )


def bar(gallery: Gallery) -> None:
    """What was done last, its effect, and its undo."""
    failed = st.session_state.get(_FAILED)
    if failed is not None:
        with st.container(horizontal=True, vertical_alignment="center", key="curation-failed-bar"):
            said = str(failed)
            st.error(f"{plain(said[:1].upper() + said[1:])}.", icon=":material/error:")
            st.button("Put away", key="curation-failed-away", on_click=put_away)
    done = st.session_state.get(_DONE)
    if not isinstance(done, Done):
        return
    with st.container(
        border=True,
        horizontal=True,
        vertical_alignment="center",
        gap="small",
        key="curation-bar",
    ):
        said = plain(done.said)
        st.markdown(f":material/check: {said}", width="content")
        place = st.empty()
        st.button(
            "Undo",
            icon=":material/undo:",
            key="curation-undo",
            on_click=undo,
            args=(done.operation,),
            help=plain(f"Takes {done.operation} back. U on the keyboard."),
            shortcut="U",
        )
        st.button("Put away", key="curation-away", on_click=put_away, type="tertiary")
    if done.effect and (found := effects(gallery, [done.operation], "bar")):
        place.caption(plain(changes.short_effect(found)), width="content")
