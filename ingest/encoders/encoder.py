"""Encoder: cheap to make, loads its model at the first vector."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.encoders.files.found import EncoderFiles, split_name, with_precision
from ingest.encoders.locate import (
    DEFAULT_ENCODER,
    inspect,
    locate,
    unmistakable,
)
from ingest.encoders.long_text import Reading, TextQuery, read
from ingest.encoders.runtimes.base import Runtime, unit_rows
from ingest.encoders.runtimes.weights import parameters
from ingest.encoders.understanding import Understanding, brings_lexicon, understand
from ingest.record import Pixels
from store import (
    BadImage,
    BadQuery,
    EncoderMismatch,
    EncoderStamp,
    EncoderUnavailable,
    TextUnsupported,
    Vectors,
)

if TYPE_CHECKING:
    from store import Gallery

#: Images in one forward pass, unless the caller says otherwise.
BATCH_SIZE = 256


class Encoder:
    """Turns images and texts into unit vectors of one space. One instance serves many threads.

    Attributes:
        name: what a person calls it, e.g. ``cxr-clip-28``.
        fingerprint: hex sha256 over weights, configuration, preprocessing and tokenizer.
        dimension: length of its vectors.
        supports_text: whether ``encode_texts`` works.
        side: of what it sees of an image, in pixels; 0 where that is not known. Images that are
            much larger are averaged over blocks first, see ``ingest.images.pixels.reduction``.
    """

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        self.name = files.name
        self.fingerprint = files.fingerprint
        self.dimension = files.dimension
        self.supports_text = files.supports_text
        self.side = files.side
        self._files = files
        self._device = device
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Encoder({self.stamp})"

    @property
    def stamp(self) -> EncoderStamp:
        """Identity to write beside the vectors."""
        files, (_, precision) = self._files, split_name(self.name)
        mark = "" if precision == "float32" else f"@{precision}"
        folder = f"{files.folder}{mark}" if files.own else None
        return EncoderStamp(self.name, self.fingerprint, self.dimension, folder)

    def encode_images(self, images: Sequence[Pixels], batch_size: int = BATCH_SIZE) -> Vectors:
        """Vectors of images of any size.

        Args:
            images: uint8 arrays, (height, width) grey or (height, width, 3) RGB.
            batch_size: images in one forward pass; it changes speed and memory, not the vectors.

        Returns:
            float32 (n, dimension), unit rows, in the order of the images.

        Raises:
            BadImage: an array of another shape or type.
            EncoderUnavailable: the model cannot be loaded.
        """
        for position, image in enumerate(images):
            _check_image(position, image)
        batches = [
            self.runtime().image_features(images[start : start + batch_size])
            for start in range(0, len(images), batch_size)
        ]
        return self._unit_rows(batches)

    def encode_texts(self, texts: Sequence[str], batch_size: int = BATCH_SIZE) -> Vectors:
        """Vectors of texts, in the images' space. Longer texts than the model takes are cut: read.

        Returns:
            float32 (n, dimension), unit rows, in the order of the texts.

        Raises:
            BadQuery: an empty text, or one that is no text.
            TextUnsupported: the encoder understands images only.
            EncoderUnavailable: the model cannot be loaded.
        """
        self.check_texts(texts)
        batches = [
            self.runtime().text_features(texts[start : start + batch_size])
            for start in range(0, len(texts), batch_size)
        ]
        return self._unit_rows(batches)

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse texts that cannot be encoded; see encode_texts."""
        if not self.supports_text:
            why = f" as it is here: {self._files.no_text}" if self._files.no_text else ""
            raise TextUnsupported(
                f"encoder {self.name!r} understands images only{why}; search by image or id, "
                f"or use one with a text tower such as {DEFAULT_ENCODER}"
            )
        for position, text in enumerate(texts):
            if not text.strip():
                raise BadQuery(
                    f"text {position} is empty: expected a few words, e.g. 'clear lungs'"
                )
            if any("\ud800" <= char <= "\udfff" for char in text):
                raise BadQuery(
                    f"text {position}, {text[:60]!r}, has half of a character (a lone surrogate) "
                    "in it: expected words, e.g. 'clear lungs'"
                )

    def read(self, text: str) -> Reading:
        """What of a text the encoder reads, and what it cuts off; loads its tokenizer.

        Raises:
            BadQuery, TextUnsupported, EncoderUnavailable: as encode_texts.
        """
        self.check_texts([text])
        runtime = self.runtime()
        return read(text, runtime.count_tokens, runtime.longest())

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self._files.folder

    @property
    def library(self) -> str:
        """The library that builds its model: ``transformers``, ``open_clip`` or ``timm``."""
        return self._files.layout

    @property
    def no_text(self) -> str | None:
        """Why it encodes no texts where its folder could have it, in one clause; else None."""
        return self._files.no_text

    @property
    def base(self) -> Encoder | None:
        """The encoder below an adapted one; None of another."""
        return None if self._files.base is None else Encoder(self._files.base, self._device)

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        files = (one for each in self._files.storeys for one in each.contents.files.items())
        return sum(one.size for name, one in files if name.endswith(".safetensors"))

    @property
    def parameters(self) -> int | None:
        """Number of its weights; None where its files are gone."""
        files = (one for each in self._files.storeys for one in each.contents.files.items())
        try:
            return sum(parameters(one.path) for name, one in files if name.endswith(".safetensors"))
        except (OSError, ValueError):
            return None

    def changed(self) -> str | None:
        """One sentence when its files changed since it was read, else None.

        Its vectors and its fingerprint stay those of the bytes that were read, which are in memory.
        """
        files = self._files
        if all(one.contents.untouched() for one in files.storeys):
            return None
        name, _ = split_name(files.name)
        try:
            now = with_precision(inspect(name, files.folder), files.precision).fingerprint
        except EncoderUnavailable as error:
            there = f"cannot be loaded any more ({error})"
        else:
            if now == files.fingerprint:
                return None
            there = f"has fingerprint {now[:12]} now"
        return (
            f"encoder {files.name!r} was read with fingerprint {files.fingerprint[:12]}, of which "
            f"all vectors are, but {files.folder} {there}: put the files back that were there, or "
            "ingest again into another --store with those that are there now"
        )

    def understands(self, text: str | TextQuery) -> Understanding:
        """Whether the encoder has grounds to understand a text; None where it cannot be known.

        Only what it reads of the text is judged.
        """
        folder = self._files.storeys[-1].folder
        if not brings_lexicon(folder):
            return Understanding(None)
        if isinstance(text, str):
            read_whole = not self.supports_text or not text.strip()
            return understand(folder, text if read_whole else self.read(text).text)
        return understand(folder, text.read)

    def runtime(self) -> Runtime:
        """The loaded model; loads it when it is asked for first."""
        with self._lock:
            if self._runtime is None:
                device = self._device or os.environ.get("CXR_DEVICE")
                with _no_garbage_collection():
                    self._runtime = _built(self._files, device)
                for files in self._files.storeys:
                    files.contents.let_go()
            return self._runtime

    def _unit_rows(self, batches: list[Vectors]) -> Vectors:
        if not batches:
            return np.zeros((0, self.dimension), np.float32)
        return unit_rows(np.concatenate(batches), self.name)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause of the garbage collector while libraries are imported, of which nothing is garbage.

    Walking again and again over their objects takes a fifth of the time until a model is loaded.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _built(files: EncoderFiles, device: str | None) -> Runtime:
    """The model of some files, with those below it."""
    if files.base is not None:
        from ingest.encoders.runtimes.adapted_models import AdaptedRuntime

        return AdaptedRuntime(files, _built(files.base, device))
    if files.layout == "pixels":
        from ingest.encoders.runtimes.raw_pixels import PixelRuntime

        return PixelRuntime(files, device)
    if files.layout == "open_clip":
        from ingest.encoders.runtimes.open_clip_models import OpenClipRuntime

        return OpenClipRuntime(files, device)
    if files.layout == "timm":
        from ingest.encoders.runtimes.timm_models import TimmRuntime

        return TimmRuntime(files, device)
    from ingest.encoders.runtimes.transformers_models import TransformersRuntime

    return TransformersRuntime(files, device)


def load_encoder(
    name_or_path: str | Path = DEFAULT_ENCODER,
    *,
    revision: str | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> Encoder:
    """Find an encoder, read and fingerprint its files; the model is made at the first vector.

    It is made of the bytes that were read here: files that are changed later change no vector.

    Args:
        name_or_path: a bundled or known name, a folder in the transformers or open_clip layout, or
            a hub id; ``@bf16`` after it asks for that precision.
        revision: for a hub id: the branch, tag or commit to take.
        device: e.g. ``cpu`` or ``cuda``; default: ``$CXR_DEVICE``, else the best there is.
        precision: ``float32`` or ``bf16``, which needs cuda; part of the name and fingerprint.

    Raises:
        EncoderUnavailable: in one line, what is missing or damaged and what to do about it.
            There is no fallback to another model, or to untrained weights.
    """
    asked = "float32"
    if isinstance(name_or_path, str):
        name_or_path, asked = split_name(name_or_path)
    files = with_precision(locate(name_or_path, revision), precision or asked)
    return Encoder(files, device)


def encoder_for(
    made: Gallery | EncoderStamp,
    name: str | Path | None = None,
    *,
    device: str | None = None,
    load: Callable[[str | Path], Encoder] | None = None,
) -> Encoder:
    """The encoder that made a gallery, found by its folder or name, checked by its fingerprint.

    Args:
        made: the gallery, or its stamp.
        name: another name, folder or hub id to find it by; that of the stamp when ``None``.
        device: as load_encoder takes it.
        load: takes the place of load_encoder, e.g. a cache of loaded encoders.

    Raises:
        EncoderMismatch: the encoder found is another one; or the vectors came from outside without
            one, and no ``name`` was given.
        EncoderUnavailable: it is not on this machine.
    """
    if isinstance(made, EncoderStamp):
        stamp, where = made, "this gallery"
    else:
        stamp, where = made.stamp, f"the gallery at {made.uri}"
    if name is None and stamp.name.startswith("external:"):
        raise EncoderMismatch(
            f"the vectors of {where} were imported without saying which encoder made them; images "
            "and texts can be searched only with that very encoder. Search by id, or import again "
            "with a meta.json that names encoder, fingerprint and dimension"
        )
    asked = name or _address(stamp)
    try:
        found = load(asked) if load else load_encoder(asked, device=device)
    except EncoderUnavailable as error:
        if name is not None:
            raise
        if stamp.folder is not None:
            raise EncoderUnavailable(
                f"{where} was made by encoder {stamp}, read from {stamp.folder}, where it is not "
                f"found any more ({error}); put that folder back, or pass --encoder with the "
                f"folder where the encoder of fingerprint {stamp.fingerprint[:12]} is now, or "
                "search by id"
            ) from error
        raise EncoderUnavailable(
            f"{where} was made by encoder {stamp}, which is not found by its name here ({error}); "
            "pass --encoder with its folder or hub id, or search by id"
        ) from error
    from store import check_encoder  # with it comes Arrow, which no encoder needs

    check_encoder(where, stamp, found.stamp)
    return found


def _address(stamp: EncoderStamp) -> str:
    """What finds the encoder of a stamp: its folder, also where that moved here, else its name."""
    if stamp.folder is None:
        return unmistakable(stamp.name)
    folder = Path(split_name(stamp.folder)[0])
    if not folder.is_dir() and Path(folder.name).is_dir():
        return f"./{stamp.name}"
    return stamp.folder


def _check_image(position: int, image: Pixels) -> None:
    shape = getattr(image, "shape", None)
    if shape is None or image.dtype != np.uint8:
        kind = type(image).__name__ if shape is None else f"a {image.dtype} array"
        raise BadImage(
            "not-uint8", f"image {position} is {kind}: expected a uint8 array of 8-bit pixels"
        )
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and shape[2] == 3)):
        raise BadImage(
            "bad-shape",
            f"image {position} has shape {shape}: expected (height, width) or (height, width, 3)",
        )
