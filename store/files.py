"""Where copies are kept that may be deleted at any time: the saved mirror and its like."""

from __future__ import annotations

from pathlib import Path

#: Our own folder beside the table: lock, readers, saved mirror. May be deleted when nobody writes.
FOLDER = "_cxr"


def folder(uri: str, uuid: str) -> Path:
    """Beside a local table, so that it travels and goes with it; else in the user's cache folder.

    Args:
        uri: of the gallery.
        uuid: of its table: a table that is made again has another.
    """
    if "://" not in uri:
        return Path(uri, FOLDER)
    from platformdirs import user_cache_path

    return user_cache_path("cxr-retrieval", appauthor=False) / uuid
