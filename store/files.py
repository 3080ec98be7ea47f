"""Names of a gallery's files, and the folder of copies that may be deleted."""

from __future__ import annotations

import os
from pathlib import Path

#: Name of the LanceDB table; its folder is called so, with ``.lance`` behind it.
TABLE = "gallery"
#: Names of the tables beside it that curation writes; see store.curation.
CHANGES, SET_ASIDE, SELECTIONS = CURATED = ("changes", "set_aside", "selections")
#: Our own folder beside the table: lock, readers, saved mirror. May be deleted when nobody writes.
FOLDER = "_cxr"
_LAST_VERSION = 2**64 - 1


def expanded(place: str | Path) -> Path:
    """A path as people write it, with ``~`` as the home folder.

    ``~somebody`` that is nobody's home is a name like any other; write ``./~`` for a folder that is
    called so.
    """
    return Path(os.path.expanduser(place))  # noqa: PTH111  Path's own raises over ~somebody


def location(uri: str | Path) -> str:
    """Location of a gallery: an address of an object store as it is, a path with its home."""
    text = str(uri)
    return text if "://" in text else str(expanded(text))


def folder(uri: str, uuid: str) -> Path:
    """Folder of copies that can be made again: beside a local table, else in the user's cache.

    Args:
        uri: of the gallery. A folder beside a local table travels and goes with it.
        uuid: of its table: a table that is made again has another.
    """
    if "://" not in uri:
        return Path(uri, FOLDER)
    from platformdirs import user_cache_path

    return user_cache_path("cxr-retrieval", appauthor=False) / uuid


def manifest_name(version: int) -> str:
    """File name of a version's manifest: Lance counts down, so that the newest is listed first."""
    return f"{_LAST_VERSION - version:020d}.manifest"


def version_of(name: str) -> int | None:
    """The version of a manifest's file name; None for other files."""
    stem, dot, suffix = name.partition(".")
    if not dot or suffix != "manifest" or not stem.isdigit():
        return None
    return _LAST_VERSION - int(stem) if len(stem) == 20 else int(stem)
