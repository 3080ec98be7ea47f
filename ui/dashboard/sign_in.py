"""Sign-in: the file of ``cxr serve --sign-in``, admission of visitors, and the right to write.

It is Streamlit's ``secrets.toml``: ``[auth]`` names the OpenID Connect provider. ``[visitors]`` is
ours: ``emails`` (who may enter; everyone whom the provider knows when absent) and ``curators`` (who
may add and undo batches; every visitor when absent). An entry ``@example.org`` means all of them.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from store import UsageError, expanded
from ui.dashboard.components.html import plain

_NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_CALLBACK = "/oauth2callback"
#: Shortest cookie secret, in characters.
_SECRET_MIN = 32
#: Headers that a proxy adds: whoever asks is not necessarily on this machine.
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via")


def check_file(path: Path) -> None:
    """Refuse a sign-in file that would not work, or not protect, before anything is served.

    Raises:
        UsageError: it cannot be read, lacks an entry, or anyone may read its secrets. No message
            repeats a value.
    """
    if importlib.util.find_spec("authlib") is None:
        raise UsageError("--sign-in needs Authlib: pip install 'cxr-retrieval[sign-in]'")
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(
            f"--sign-in {str(path)!r} is no TOML file ({reason}); see docs/serving.md"
        ) from None
    if mode & 0o077:
        raise UsageError(
            f"--sign-in {str(path)!r} holds secrets that others may read; run: chmod 600 {path}"
        )
    auth = document.get("auth")
    missing = [key for key in _NEEDED if not isinstance(auth, dict) or not auth.get(key)]
    if missing:
        raise UsageError(
            f"--sign-in {str(path)!r}: section [auth] lacks {', '.join(missing)}; "
            "see docs/serving.md"
        )
    assert isinstance(auth, dict)
    if not str(auth["redirect_uri"]).endswith(_CALLBACK):
        raise UsageError(
            f"--sign-in {str(path)!r}: redirect_uri must be the dashboard's address and {_CALLBACK}"
        )
    if len(str(auth["cookie_secret"])) < _SECRET_MIN:
        raise UsageError(
            f"--sign-in {str(path)!r}: cookie_secret needs {_SECRET_MIN} characters or more; make "
            'one with: python -c "import secrets; print(secrets.token_hex())"'
        )
    for key in ("emails", "curators"):
        _list(document.get("visitors", {}), key)


def enters(user: Mapping[str, Any], visitors: Any) -> bool:
    """Whether someone who signed in may see the dashboard."""
    return _listed(user, _list(visitors, "emails"))


def curates(user: Mapping[str, Any], visitors: Any) -> bool:
    """Whether someone who may see the dashboard may also add and undo batches."""
    return enters(user, visitors) and _listed(user, _list(visitors, "curators"))


def needs_sign_in() -> bool:
    """Whether visitors must sign in."""
    return bool(os.environ.get("CXR_SIGN_IN"))


def admitted() -> bool:
    """Whether this visitor may see the dashboard; the sign-in page is drawn when not."""
    if not needs_sign_in():
        return True
    if not st.user.is_logged_in:
        _page(_sign_in)
        return False
    if not enters(_user(), _visitors()):
        _page(_not_listed)
        return False
    with st.sidebar, st.container(key="who"):
        st.caption(f"Signed in as {plain(_name())}")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout, key="sign-out")
    return True


def may_write() -> bool:
    """Whether this visitor may add films and undo batches.

    Only when the server allows it at all; without sign-in only from this machine itself, which a
    proxy in front of it gives away by its headers.
    """
    return _may("CXR_ALLOW_INGEST")


def may_curate() -> bool:
    """Whether this visitor may tag, label, note, exclude and delete films, and undo that.

    Where the server allows it, or adding films; to the same visitors.
    """
    return _may("CXR_ALLOW_CURATION", "CXR_ALLOW_INGEST")


def who() -> str | None:
    """Name under which this visitor's changes are noted; None: that of the system's user."""
    return _name()[:100] if needs_sign_in() else None


def _may(*allowed: str) -> bool:
    if not any(os.environ.get(one) for one in allowed):
        return False
    if needs_sign_in():
        return bool(st.user.is_logged_in) and curates(_user(), _visitors())
    headers = st.context.headers
    return not os.environ.get("CXR_PUBLIC_URL") and not any(name in headers for name in _FORWARDED)


def roots() -> list[Path]:
    """Folders of this machine that a batch may be read from."""
    found = os.environ.get("CXR_INGEST_ROOTS", "")
    return [expanded(one) for one in found.split(os.pathsep) if one]


def _list(visitors: Any, key: str) -> list[str] | None:
    """A list of addresses; None when there is none. An empty one admits nobody."""
    found = visitors.get(key) if isinstance(visitors, Mapping) else visitors
    if found is None:
        return None
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"section [visitors] of the sign-in file: {key} must be a list of texts")
    return [one.strip().casefold() for one in found]


def _listed(user: Mapping[str, Any], allowed: list[str] | None) -> bool:
    if allowed is None:
        return True
    email = str(user.get("email") or "").strip().casefold()
    # Some providers let people write any address into their account.
    if "@" not in email or user.get("email_verified") is False:
        return False
    return email in allowed or "@" + email.rpartition("@")[2] in allowed


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


def _not_listed() -> None:
    st.title("Not on the list")
    st.write(
        f"You are signed in as {plain(_name())}, who is not among the visitors of this "
        "dashboard. Ask its owner, or sign in as someone else."
    )
    st.button("Sign out", icon=":material/logout:", on_click=st.logout, key="sign-out")


def _user() -> Mapping[str, Any]:
    found: Mapping[str, Any] = st.user.to_dict()
    return found


def _name() -> str:
    user = _user()
    return str(user.get("email") or user.get("name") or "someone without an address")[:200]


def _visitors() -> Any:
    return st.secrets.get("visitors", {}).to_dict() if "visitors" in st.secrets else {}
