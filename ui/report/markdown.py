"""Small pieces of markdown and shell."""

from __future__ import annotations

import shlex
from pathlib import Path


def plain(text: str) -> str:
    """Text that markdown and its tables take literally."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))


def code(text: str) -> str:
    """Text as inline code, also inside a table."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def short_path(uri: str, *, shell: bool = True) -> str:
    """A local path with ``~`` for the home folder, quoted for a shell if wanted."""
    home = f"{Path.home()}/"
    if uri.startswith(home):
        rest = uri.removeprefix(home)
        return f"~/{shlex.quote(rest)}" if shell else f"~/{rest}"
    return shlex.quote(uri) if shell else uri
