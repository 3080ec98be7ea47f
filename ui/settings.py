"""Where things are when nobody says: environment variables, then defaults."""

from __future__ import annotations

import os
from pathlib import Path

HOST = "127.0.0.1"
PORT = 8501


def data_folder() -> Path:
    """The user's data folder for this project, by the platform's convention."""
    from platformdirs import user_data_path

    return user_data_path("cxr-retrieval", appauthor=False)


def default_store(name: str = "gallery") -> str:
    """``$CXR_STORE``, else a folder below the user's data folder."""
    return os.environ.get("CXR_STORE") or str(data_folder() / name)
