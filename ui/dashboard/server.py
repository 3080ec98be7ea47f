"""Server process of ``cxr serve``: Streamlit, and a thread that loads gallery and encoder ahead.

    python -P -m ui.dashboard.server run ui/dashboard/asgi.py [Streamlit's options]

``python -m streamlit run ui/dashboard/app.py`` serves the same pages; its first visitors wait for
what is loaded ahead of them here.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from store import CxrError

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Gallery


#: Set once a page was drawn. Until then the model does not compete with it for the processor.
drawn = threading.Event()
_PATIENCE_S = 5.0
#: From a page that was drawn here to the same one in the browser, which wants the processor, too.
_PAINTING_S = 1.5
#: How long a thread may keep the others waiting meanwhile: the usual 5 ms would hold up each of the
#: hundred files that a browser asks for.
_TURN_S = 0.0005
_NAME = "warm-up"


def start() -> None:
    """Warm up in a thread of its own."""
    threading.Thread(target=warm, name=_NAME, daemon=True).start()


def warm() -> None:
    """Load the gallery, then the encoder, so that no visitor waits for them.

    What cannot be loaded is left to the pages, which say what is wrong.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    try:
        _load()
    finally:
        sys.setswitchinterval(usual)
        # The model and the libraries stay for good: later collections need not walk through them.
        gc.collect()
        gc.freeze()
        gc.enable()


def _load() -> None:
    # Streamlit's caches warn that nobody is visiting, which is so.
    for name in ("scriptrunner_utils.script_run_context", "caching.cache_data_api"):
        logging.getLogger(f"streamlit.runtime.{name}").addFilter(_not_ours)
    from ui.dashboard import shared
    from ui.dashboard.search import results  # noqa: F401 - what a page imports

    with suppress(CxrError):
        gallery = shared.gallery()
        if len(gallery):
            shared.known(gallery)
            first = shared.starters(gallery, {})[1][0]
            gallery.thumbnails([hit.row.id for hit in gallery.search_by_id(first, 1)])
        if drawn.wait(_PATIENCE_S):
            time.sleep(_PAINTING_S)
        if shared.encoder_is_near(gallery.stamp):
            _once(shared.encoder(gallery.stamp))
        if len(gallery):
            _prepare_uploads(gallery, first)


def _not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != _NAME


def _once(encoder: Encoder) -> None:
    """Load the model: encode one image and one sentence."""
    import numpy as np

    encoder.encode_images([np.arange(256, dtype=np.uint8).reshape(16, 16)])
    if encoder.supports_text:
        encoder.understands("chest film")
        encoder.encode_texts(["chest film"])


def _prepare_uploads(gallery: Gallery, stored: str) -> None:
    """Work out what an upload's nearness is held against: seconds for the first of a version."""
    from ui import notices

    picture = gallery.thumbnails([stored])[stored]
    if picture is not None:
        notices.nearness_of(gallery, gallery.vectors([stored]), picture)


def _no_components(max_workers: int | None = None) -> list[Any]:
    return []


def main() -> None:
    """Serve until a signal ends the process."""
    gc.disable()  # what is imported stays: looking for garbage in it is a tenth of the work
    from streamlit.components.v2 import manifest_scanner
    from streamlit.web import cli

    # Streamlit reads the descriptions of all installed packages to find components in them, a
    # sixth of a second; ours are not in packages.
    manifest_scanner.scan_component_manifests = _no_components
    sys.argv[0] = "streamlit"
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
