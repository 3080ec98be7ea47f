"""Opening of the gallery for commands and dashboard, by options and environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store import Gallery

#: Address and port of the dashboard.
HOST = "127.0.0.1"
PORT = 8501
#: Largest film that dashboard and service take from a visitor, in MB: 20 megapixels of 16 bits are
#: 40, uncompressed. ``.streamlit/config.toml`` says it to the server, which refuses more by itself.
FILE_MB = 48


def data_folder() -> Path:
    """The user's data folder for this project, by the platform's convention."""
    from platformdirs import user_data_path

    return user_data_path("cxr-retrieval", appauthor=False)


def default_store(name: str = "gallery") -> str:
    """Location of the gallery: ``$CXR_STORE``, else a folder below the user's data folder."""
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
        UsageError: the number of shards is no number; a cluster without shards.
    """
    from store import Gallery, UsageError

    number, address = shards or _variable("CXR_SHARDS"), ray or _variable("CXR_RAY")
    if not str(number).isdigit() and number:
        raise UsageError(f"CXR_SHARDS is {number!r}: expected a number such as 4")
    if address and not number:
        raise UsageError("--ray says where shards are: add --shards N")
    return Gallery.open(
        store,
        index=index or _variable("CXR_INDEX") or "exact",
        shards=int(number or 0),
        ray=address or "local",
        on_lost=on_lost or _variable("CXR_ON_LOST") or "wait",  # type: ignore[arg-type]  # refused there
    )


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()
