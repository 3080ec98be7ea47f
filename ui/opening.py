"""The gallery that commands and dashboard search, opened as the user wished."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store import Gallery


HOST = "127.0.0.1"
PORT = 8501


def data_folder() -> Path:
    """The user's data folder for this project, by the platform's convention."""
    from platformdirs import user_data_path

    return user_data_path("cxr-retrieval", appauthor=False)


def default_store(name: str = "gallery") -> str:
    """``$CXR_STORE``, else a folder below the user's data folder."""
    return os.environ.get("CXR_STORE") or str(data_folder() / name)


def open_gallery(
    store: str,
    index: str | None = None,
    shards: int | None = None,
    ray: str | None = None,
    on_lost: str | None = None,
) -> Gallery:
    """Open a gallery to be searched.

    Args:
        store: where it is.
        index: ``exact`` or ``lance``; ``$CXR_INDEX``, then exact, when None.
        shards: parts of the mirror on a cluster; ``$CXR_SHARDS``, then none, when None.
        ray: address of the cluster; ``$CXR_RAY``, then this machine, when None.
        on_lost: ``wait`` or ``partial``; ``$CXR_ON_LOST``, then wait, when None.

    Raises:
        UsageError: no number of shards; a cluster without shards.
    """
    from store import Gallery, UsageError

    number, address = shards or _said("CXR_SHARDS"), ray or _said("CXR_RAY")
    if not str(number).isdigit() and number:
        raise UsageError(f"CXR_SHARDS is {number!r}: expected a number such as 4")
    if address and not number:
        raise UsageError("--ray says where shards are: add --shards N")
    return Gallery.open(
        store,
        index=index or _said("CXR_INDEX") or "exact",
        shards=int(number or 0),
        ray=address or "local",
        on_lost=on_lost or _said("CXR_ON_LOST") or "wait",  # type: ignore[arg-type]  # refused there
    )


def _said(name: str) -> str:
    return os.environ.get(name, "").strip()


def manner(store: Mapping[str, Any]) -> str | None:
    """What must be said beside every answer of a gallery; None where answers are exact.

    Args:
        store: from Gallery.describe.
    """
    if "partial" in store:
        return partial(store["partial"])
    found = store.get("approximate")
    return None if found is None else approximate(found)


def partial(found: Mapping[str, Any]) -> str:
    """One sentence about an answer that lacks shards."""
    return (
        f"partial: {len(found['missing'])} of {found['shards']} shards lost and being rebuilt; "
        f"{found['searched']:,} of {found['rows']:,} rows were searched"
    )


def approximate(found: Mapping[str, Any]) -> str:
    """One sentence about an index, from what was measured when it was built."""
    later = found["rows_not_indexed"]
    newer = f"; {later:,} newer rows are compared one by one" if later else ""
    return (
        f"approximate: {found['kind']} index, recall@10 {found['recall_at_10']:.3f} against exact "
        f"search on {found['sample']} stored films, measured {found['built_at'][:10]} over "
        f"{found['rows']:,} rows; the scores shown are exact{newer}"
    )
