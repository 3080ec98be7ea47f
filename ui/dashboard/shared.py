"""The gallery and the encoder that all visitors share, and caches keyed by table version."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from ingest.encoders import Encoder, TextQuery, encoder_for, load_encoder
from ingest.encoders import text_query as read
from store import (
    COLUMNS,
    NO_FINDING,
    NOTHING_FOUND,
    CxrError,
    EncoderStamp,
    Gallery,
    Nearness,
    Range,
    expanded,
    findings,
    label_places,
)
from ui import notices
from ui.dashboard.components.html import Labels
from ui.dashboard.search.ranges import AGE, Choice, Known, own
from ui.dashboard.search.state import FACETS, Filters, Upload, where
from ui.opening import default_store, open_gallery

if TYPE_CHECKING:
    from ingest import Agreement

#: State of a gallery.
Key = tuple[str, tuple[str, int, str], str]
#: Depths of the evaluation page.
DEPTHS = (1, 3, 5, 10)

_run = threading.local()


def gallery() -> Gallery:
    """The gallery as this run of the page sees it: one version, whatever comes in meanwhile.

    Raises:
        StoreNotFound, StoreDamaged: there is none, or it cannot be read.
    """
    found: Gallery | None = getattr(_run, "gallery", None)
    return newest() if found is None else found


def newest() -> Gallery:
    """The newest version of the process's gallery; this run of the page stays at it.

    Raises:
        StoreNotFound, StoreDamaged: there is none, or it cannot be read.
    """
    _run.gallery = None
    uri = default_store()
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
    return os.environ.get("CXR_ENCODER", "").strip() or stamp.address


def encoder_is_near(stamp: EncoderStamp) -> bool:
    """Whether looking for the encoder is quick, because it would not be sought on a hub."""
    name = encoder_name(stamp)
    like_hub = name.count("/") == 1 and name[0] not in "/.~"
    return not like_hub or expanded(name).is_dir()


def encoder(stamp: EncoderStamp) -> Encoder:
    """The process's one encoder, when it is the one that made the gallery. No model is loaded.

    Raises:
        EncoderUnavailable: its files are not here.
        EncoderMismatch: it is another one; its vectors would mean nothing in this gallery.
    """
    name = encoder_name(stamp)
    return encoder_for(stamp, None if name == stamp.address else name, load=_encoder)


@st.cache_resource(max_entries=2, show_spinner=False)
def _encoder(name: str | Path) -> Encoder:
    return load_encoder(name)


def seen_in_training(found: object) -> frozenset[tuple[str, str]]:
    """(data set, split) that an encoder says it learnt from; nothing of one that is not here."""
    from ingest import seen_in_training as seen

    return seen(found.folder) if isinstance(found, Encoder) else frozenset()


#: Caches know a gallery by its state, an encoder by its fingerprint, an upload by its digests.
HASHES: dict[str | type, Callable[[Any], Any]] = {
    Gallery: key,
    Encoder: lambda found: found.fingerprint,
    Upload: lambda found: found.digests,
}


@st.cache_data(max_entries=512, show_spinner="Reading the sentence …", hash_funcs=HASHES)
def text_query(using: Encoder, text: str, long_text: str) -> TextQuery:
    """A sentence or a report as unit vectors, and what of it was read."""
    return read(using, text, long_text)


@st.cache_resource(max_entries=128, show_spinner="Reading the patches …", hash_funcs=HASHES)
def agreement(using: Encoder, png: bytes, vector: npt.NDArray[np.float32]) -> Agreement:
    """Map of the patches by which a picture agrees with a vector.

    Raises:
        PatchesUnsupported: the encoder has no patches whose shares can be read.
    """
    from ingest import agreement as split_up
    from ingest import decode

    return split_up(using, decode(png, "the thumbnail"), vector)


@st.cache_data(max_entries=64, show_spinner="Comparing with the gallery …", hash_funcs=HASHES)
def nearness(of: Gallery, upload: Upload) -> Nearness:
    """Whether an upload has a good match at all."""
    return notices.nearness_of(of, upload.vector[None], upload.thumbnail)


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=HASHES)
def facets(of: Gallery, filters: Filters) -> dict[str, dict[str, int]]:
    """Counts of the films that pass the filters: facet -> value -> films."""
    found = of.facets(where(filters))
    return {**found, **{one.key: found[name] for name, one in COLUMNS.items() if one.counted}}


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=HASHES)
def ranges(of: Gallery, filters: Filters) -> dict[str, Range]:
    """Ages, own numbers and days of the films that pass the filters: column -> range."""
    return of.ranges(where(filters))


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=HASHES)
def known(of: Gallery) -> Known:
    """Filters that the gallery has: facet -> its values or its range, in the order shown."""
    values, spans = facets(of, {}), ranges(of, {})
    # A column of the user's own may have been called as a later filter of ours.
    ours = [facet for facet in FACETS if facet not in of.columns()]
    found: dict[str, Choice] = {facet: list(values[facet]) for facet in ours}
    if AGE in spans:
        found[AGE] = spans[AGE]
    for name in dict.fromkeys([*of.columns(), *spans]):
        choice = spans.get(name) or list(values.get(name, ()))
        if choice and name != AGE:
            found[own(name)] = choice
    return found


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=HASHES)
def knows_patients(of: Gallery) -> bool:
    """Whether any film says whose it is."""
    return of.knows_patients()


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=HASHES)
def has_reports(of: Gallery) -> bool:
    """Whether any film has a report, so that words can be searched."""
    return of.has_reports()


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=HASHES)
def labels(of: Gallery) -> Labels:
    """Marks of the gallery's labels."""
    found = facets(of, {})
    names = {*found["label"], *found.get("uncertain", ())}
    return Labels(found["label"], label_places(of, findings(sorted(names))))


def named_findings(of: Gallery, filters: Filters) -> dict[str, int]:
    """Counts of the films that pass by named finding, ``No finding`` among them."""
    found = facets(of, filters)
    counts = {name: found["label"][name] for name in findings([*found["label"]])}
    nothing = found.get("outcome", {}).get(NOTHING_FOUND, 0)
    return {**counts, NO_FINDING: nothing} if nothing else counts


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=HASHES)
def starters(of: Gallery, filters: Filters, most: int = 10) -> tuple[int, list[str]]:
    """Number of films that pass the filters, and a few of their ids, evenly spread.

    All ids are listed and sorted for this, a quarter of a second for a million: once per version.
    """
    ids = of.ids(where(filters))
    return len(ids), ids[:: max(1, len(ids) // most)][:most]


def films(of: Gallery, filters: Filters) -> int:
    """Number of films that pass the filters."""
    return starters(of, filters)[0] if filters else len(of)
