"""Uploads: films of a visitor from a file or from the clipboard, in memory only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ingest import Pixels
from ingest.encoders import Encoder
from store import BadImage, CxrError
from ui.dashboard.components.html import cut
from ui.dashboard.search import session
from ui.dashboard.search.state import Upload
from ui.opening import FILE_MB

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

#: Longest side of the picture that is kept for looking at a film closely, in pixels.
_PICTURE_SIDE = 1024
_TURN, _PASTED = "search-turn", "search-pasted"
_PASTE_BOX = "box-paste"

_paste = st.components.v2.component(
    "cxr-retrieval.paste",
    js=(Path(__file__).parents[1] / "components" / "paste.js").read_text("utf-8"),
)


def box() -> str:
    """Key of the upload widget; a new one after every film, so that it is empty again."""
    return f"box-upload-{st.session_state.get(_TURN, 0)}"


def listen() -> None:
    """Take images that are pasted anywhere on the page."""
    _paste(key=_PASTE_BOX, data={"megabytes": FILE_MB}, height=1, on_pasted_change=_keep_pasted)


def _keep_pasted() -> None:
    st.session_state[_PASTED] = st.session_state[_PASTE_BOX].get("pasted")


def pasted() -> tuple[str, bytes] | None:
    """Name and bytes of what was just pasted, once; None when nothing was, or it was no image."""
    found = st.session_state.pop(_PASTED, None)
    if found is None:
        return None
    try:
        return decode(found)
    except BadImage as error:
        session.say(f"What was pasted cannot be searched ({error.reason}): {error}")
        return None


def decode(found: Any) -> tuple[str, bytes]:
    """Name and bytes of what a browser says was pasted; a browser may say anything.

    Raises:
        BadImage: not what the page's own script sends.
    """
    if not isinstance(found, dict):
        raise BadImage("unreadable", f"the browser sent {type(found).__name__}, expected an image")
    name, data, size = (found.get(key) for key in ("name", "data", "size"))
    if isinstance(size, int | float) and size > FILE_MB << 20:
        raise BadImage("too_large", f"{int(size) >> 20} MB; at most {FILE_MB} MB")
    if not isinstance(name, str) or not isinstance(data, str):
        raise BadImage("unreadable", "the browser sent no name or no data, expected an image")
    try:
        return f"pasted {cut(name)}", base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise BadImage("unreadable", "the browser's data is not base64") from None


def take(name: str, data: bytes, encoder: Encoder) -> None:
    """Make a file the query, or say why it cannot be."""
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    name = cut(name)
    try:
        upload = read(name, data, encoder)
    except BadImage as error:
        session.say(f"{name} cannot be searched ({error.reason}): {error}")
    except CxrError as error:
        session.say(str(error))
    else:
        session.ask_upload(upload)


def forget(files: Iterable[UploadedFile]) -> None:
    """Drop what the server keeps of uploads that were read.

    By itself it keeps every upload of a visit for minutes after that visit's end.
    """
    context = get_script_run_ctx()
    for file in files:
        if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def read(name: str, data: bytes, encoder: Encoder) -> Upload:
    """Decode and encode one film.

    Raises:
        BadImage: too large, or not an image.
        EncoderUnavailable: the model cannot be loaded.
    """
    from ingest import pixels_digest, read_image, thumbnail

    if len(data) > FILE_MB << 20:
        raise BadImage("too_large", f"{len(data) >> 20} MB; at most {FILE_MB} MB")
    pixels = read_image(data)
    return Upload(
        name=name,
        thumbnail=thumbnail(pixels),
        digests=(hashlib.sha256(data).digest(), pixels_digest(pixels)),
        width=int(pixels.shape[1]),
        height=int(pixels.shape[0]),
        vector=encoder.encode_images([pixels])[0],
        fingerprint=encoder.fingerprint,
        picture=_picture(pixels),
    )


def _picture(pixels: Pixels) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # a sixth larger, in a quarter of the time
    return file.getvalue()
