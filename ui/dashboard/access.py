"""Who may see the dashboard, and who may write through it; as ``cxr serve`` was told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from ui.dashboard import sign_in
from ui.dashboard.components.html import plain

#: Headers that a proxy adds: whoever asks is not necessarily on this machine.
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via")


def needs_sign_in() -> bool:
    """Whether nobody enters without signing in."""
    return bool(os.environ.get("CXR_SIGN_IN"))


def admitted() -> bool:
    """Whether this visitor may see the dashboard; the sign-in page is drawn when not."""
    if not needs_sign_in():
        return True
    if not st.user.is_logged_in:
        _page(_sign_in)
        return False
    if not sign_in.enters(_user(), _visitors()):
        _page(_stranger)
        return False
    with st.sidebar, st.container(key="who"):
        st.caption(f"Signed in as {plain(_called())}")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout, key="sign-out")
    return True


def may_write() -> bool:
    """Whether this visitor may add films and undo batches.

    Only when the server allows it at all; without sign-in only from this machine itself, which a
    proxy in front of it gives away by its headers.
    """
    if not os.environ.get("CXR_ALLOW_INGEST"):
        return False
    if needs_sign_in():
        return bool(st.user.is_logged_in) and sign_in.curates(_user(), _visitors())
    headers = st.context.headers
    return not os.environ.get("CXR_PUBLIC_URL") and not any(name in headers for name in _FORWARDED)


def roots() -> list[Path]:
    """Folders of this machine that a batch may be read from."""
    found = os.environ.get("CXR_INGEST_ROOTS", "")
    return [Path(one) for one in found.split(os.pathsep) if one]


def _page(draw: Any) -> None:
    st.navigation(
        [st.Page(draw, title="Sign in", url_path="sign-in", default=True)], position="hidden"
    ).run()


def _sign_in() -> None:
    st.title("Sign in to see the films")
    st.write(
        "This dashboard is for people whom its owner knows. You will be sent to the sign-in page "
        "of your organisation and back."
    )
    st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login, key="sign-in")


def _stranger() -> None:
    st.title("Not on the list")
    st.write(
        f"You are signed in as {plain(_called())}, who is not among the visitors of this "
        "dashboard. Ask its owner, or sign in as someone else."
    )
    st.button("Sign out", icon=":material/logout:", on_click=st.logout, key="sign-out")


def _user() -> Mapping[str, Any]:
    found: Mapping[str, Any] = st.user.to_dict()
    return found


def _called() -> str:
    user = _user()
    return str(user.get("email") or user.get("name") or "someone without an address")[:200]


def _visitors() -> Any:
    return st.secrets.get("visitors", {}).to_dict() if "visitors" in st.secrets else {}
