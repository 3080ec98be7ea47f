"""The sign-in file of ``cxr serve --sign-in``, and who it lets in. No Streamlit here.

It is Streamlit's ``secrets.toml``: ``[auth]`` names the OpenID Connect provider. ``[visitors]`` is
ours: ``emails`` (who may enter; everyone whom the provider knows when absent) and ``curators`` (who
may add and undo batches; every visitor when absent). An entry ``@example.org`` means all of them.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store import UsageError

_NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_CALLBACK = "/oauth2callback"
_SECRET_MIN = 32


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
