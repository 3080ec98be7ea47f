"""Find similar chest radiographs by image or by sentence, with exact cosine scores.

The names that the README shows, from the three rooms ``ingest``, ``store`` and ``ui``:

    import cxr
    gallery = cxr.Gallery.open("my-gallery")
    hits = gallery.search_by_id("pneumoniamnist/test/17", k=5)

For research and education only, never for diagnosis.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest import ingest, open_source, read_image
    from ingest.encoders import encoder_for, load_encoder
    from store import CxrError, EncoderStamp, Evaluation, Gallery, Hit, Row, Where, refined_search

# Loaded on first use, as in the rooms themselves.
_HOMES = {
    "ingest": "ingest open_source read_image",
    "ingest.encoders": "encoder_for load_encoder",
    "store": "CxrError EncoderStamp Evaluation Gallery Hit Row Where refined_search",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = [
    "CxrError",
    "EncoderStamp",
    "Evaluation",
    "Gallery",
    "Hit",
    "Row",
    "Where",
    "encoder_for",
    "ingest",
    "load_encoder",
    "open_source",
    "read_image",
    "refined_search",
]


def _check_rooms() -> None:
    """Refuse to work where another module or package hides one of ours.

    Raises:
        ImportError: names the file that is found instead.
    """
    here = Path(__file__).resolve().parents[1]
    for room in ("ingest", "store", "ui"):
        loaded = sys.modules.get(room)
        spec = find_spec(room) if loaded is None else loaded.__spec__
        found = None if spec is None else spec.origin
        if found is not None and Path(found).resolve() == here / room / "__init__.py":
            continue
        what = "is missing" if spec is None else f"is hidden by {found or _folders(spec)}"
        raise ImportError(
            f"the package {room!r} of cxr-retrieval {what}; expected "
            f"{here / room / '__init__.py'}: rename or move the other one, or take its folder off "
            "PYTHONPATH"
        )


def _folders(spec: Any) -> str:
    return ", ".join(spec.submodule_search_locations or ["a module without a file"])


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_rooms()
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME_OF)


def main() -> None:
    """Run the command ``cxr``."""
    try:
        _check_rooms()
    except ImportError as error:
        sys.exit(f"cxr: {error}")
    from ui.cli import main as run

    run()
