"""What all visitors share: one gallery and one encoder a process, and caches that know versions."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from ingest.encoders import Encoder, load_encoder
from store import (
    COLUMNS,
    CxrError,
    EncoderMismatch,
    EncoderStamp,
    Gallery,
    Nearness,
    Range,
    mismatch,
)
from ui import notices
from ui.dashboard.search.ranges import AGE, Choice, Known, own
from ui.dashboard.search.state import FACETS, Upload, where
from ui.opening import default_store, open_gallery

#: Depths of the evaluation page.
DEPTHS = (1, 3, 5, 10)

if TYPE_CHECKING:
    from ingest import Agreement

Filters = Mapping[str, tuple[str, ...]]
#: Names one state of one gallery; part of every cache key.
Key = tuple[str, tuple[str, int, str], str]

_run = threading.local()


def store_uri() -> str:
    """Where the gallery is: ``$CXR_STORE``, else the place the command line uses."""
    return default_store()


def gallery() -> Gallery:
    """The gallery as this run of the page sees it: one version, whatever comes in meanwhile.

    Raises:
        StoreNotFound, StoreDamaged: there is none, or it cannot be read.
    """
    found: Gallery | None = getattr(_run, "gallery", None)
    return newest() if found is None else found


def newest() -> Gallery:
    """Begin to look at the newest version of the process's one gallery.

    Raises:
        StoreNotFound, StoreDamaged: there is none, or it cannot be read.
    """
    _run.gallery = None
    uri = store_uri()
    opened = _open(uri)
    try:
        opened.refresh()
    except CxrError:
        # Made again by another encoder, moved away, or damaged: opening afresh tells which.
        _open.clear()
        opened = _open(uri)
        opened.refresh()
    found: Gallery = opened.pinned()
    _run.gallery = found
    return found


@st.cache_resource(max_entries=2, show_spinner="Opening the gallery …")
def _open(uri: str) -> Gallery:
    return open_gallery(uri)


def key(of: Gallery) -> Key:
    """Cache key of a gallery as it is now. A table made again may repeat a version number."""
    return of.uri, of.state, of.stamp.fingerprint


def encoder_name(stamp: EncoderStamp) -> str:
    """The encoder for uploads and texts: ``$CXR_ENCODER``, else the one that made the gallery."""
    return os.environ.get("CXR_ENCODER", "").strip() or stamp.name


def encoder_is_near(stamp: EncoderStamp) -> bool:
    """Whether looking for the encoder is quick, because it would not be sought on a hub."""
    name = encoder_name(stamp)
    like_hub = name.count("/") == 1 and name[0] not in "/.~"
    return not like_hub or Path(name).is_dir()


def encoder(stamp: EncoderStamp) -> Encoder:
    """The process's one encoder, when it is the one that made the gallery. No model is loaded.

    Raises:
        EncoderUnavailable: its files are not here.
        EncoderMismatch: it is another one; its vectors would mean nothing in this gallery.
    """
    name = encoder_name(stamp)
    if name.startswith("external:"):
        raise EncoderMismatch(
            "the vectors of this gallery were imported without saying which encoder made them"
        )
    found = _encoder(name)
    if (found.fingerprint, found.dimension) != (stamp.fingerprint, stamp.dimension):
        raise mismatch("this gallery", stamp, found.stamp)
    return found


@st.cache_resource(max_entries=2, show_spinner=False)
def _encoder(name: str) -> Encoder:
    return load_encoder(name)


def learnt(found: object) -> frozenset[tuple[str, str]]:
    """(data set, split) that an encoder says it learnt from; nothing of one that is not here."""
    from ingest import seen_in_training

    return seen_in_training(found.folder) if isinstance(found, Encoder) else frozenset()


def text_vector(using: Encoder, text: str) -> npt.NDArray[np.float32]:
    """Unit vector of a sentence, float32 (d,)."""
    return _text_vector(using.fingerprint, text, using)


@st.cache_data(max_entries=512, show_spinner="Reading the sentence …")
def _text_vector(fingerprint: str, text: str, _encoder: Encoder) -> npt.NDArray[np.float32]:
    vector: npt.NDArray[np.float32] = _encoder.encode_texts([text])[0]
    return vector


def agreement(using: Encoder, png: bytes, vector: npt.NDArray[np.float32]) -> Agreement:
    """Where a picture agrees with a vector.

    Raises:
        PatchesUnsupported: the encoder has no patches whose shares can be read.
    """
    return _agreement(using.fingerprint, png, vector, using)


@st.cache_resource(max_entries=128, show_spinner="Reading the patches …")
def _agreement(
    fingerprint: str, png: bytes, vector: npt.NDArray[np.float32], _encoder: Encoder
) -> Agreement:
    from ingest import agreement as split_up
    from ingest import decode

    return split_up(_encoder, decode(png, "the thumbnail"), vector)


def nearness(of: Gallery, upload: Upload) -> Nearness:
    """Whether an upload has a good match at all."""
    return _nearness(key(of), upload.digests, of, upload)


@st.cache_data(max_entries=64, show_spinner="Comparing with the gallery …")
def _nearness(
    key: Key, digests: tuple[bytes, bytes], _gallery: Gallery, _upload: Upload
) -> Nearness:
    return notices.nearness_of(_gallery, _upload.vector[None], _upload.thumbnail)


def facets(of: Gallery, filters: Filters) -> dict[str, dict[str, int]]:
    """How many films that pass the filters carry each value: facet -> value -> films."""
    return _facets(key(of), tuple(filters.items()), of)


@st.cache_data(max_entries=256, show_spinner=False)
def _facets(
    key: Key, filters: tuple[tuple[str, tuple[str, ...]], ...], _gallery: Gallery
) -> dict[str, dict[str, int]]:
    found = _gallery.facets(where(dict(filters)))
    return {**found, **{one.key: found[name] for name, one in COLUMNS.items() if one.counted}}


def ranges(of: Gallery, filters: Filters) -> dict[str, Range]:
    """Ages, own numbers and days of the films that pass the filters: column -> range."""
    return _ranges(key(of), tuple(filters.items()), of)


@st.cache_data(max_entries=256, show_spinner=False)
def _ranges(
    key: Key, filters: tuple[tuple[str, tuple[str, ...]], ...], _gallery: Gallery
) -> dict[str, Range]:
    return _gallery.ranges(where(dict(filters)))


def known(of: Gallery) -> Known:
    """What the gallery can be filtered by, in the order it is shown."""
    return _known(key(of), of)


@st.cache_resource(max_entries=8, show_spinner=False)
def _known(key: Key, _gallery: Gallery) -> Known:
    values, spans = facets(_gallery, {}), ranges(_gallery, {})
    found: dict[str, Choice] = {facet: list(values[facet]) for facet in FACETS}
    if AGE in spans:
        found[AGE] = spans[AGE]
    for name in dict.fromkeys([*_gallery.columns(), *spans]):
        choice = spans.get(name) or list(values.get(name, ()))
        if choice and name != AGE:
            found[own(name)] = choice
    return found


def films(of: Gallery, filters: Filters) -> int:
    """How many films pass the filters."""
    return _films(key(of), tuple(filters.items()), of) if filters else len(of)


@st.cache_data(max_entries=256, show_spinner=False)
def _films(key: Key, filters: tuple[tuple[str, tuple[str, ...]], ...], _gallery: Gallery) -> int:
    return len(_gallery.ids(where(dict(filters))))


#: Endings offered; what a file really is, is decided by its bytes.
TYPES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "jp2", "j2k", "jls", "dcm")
#: Largest film, in MB; the server refuses more by itself (server.maxUploadSize).
FILE_MB = 20
