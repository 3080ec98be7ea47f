"""Weights that were published as pickles, kept as safetensors after one careful look."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.encoders.download import cache_folder, fetch, first_line
from ingest.encoders.registry import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER, Known
from store import EncoderUnavailable

_WEIGHTS = "model.safetensors"
_TEXT_FILES = (
    "config.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_DONE = "source.sha256"


def place_of(known: Known) -> Path:
    """Where the converted files of one commit are kept: ``$CXR_CACHE``, else the user's cache."""
    return cache_folder() / "encoders" / f"{known.name}-{known.revision[:12]}"


def is_whole(place: Path) -> bool:
    """Whether a conversion was finished there."""
    return (place / _DONE).is_file()


def make(known: Known, place: Path, patterns: Sequence[str]) -> None:
    """Fetch a known encoder, check its pickle against its digest, and write it as safetensors.

    The folder appears whole or not at all.

    Raises:
        EncoderUnavailable: it cannot be fetched, it is not the file that was published, or the
            disk is full.
    """
    configs = [OPEN_CLIP_CONFIG] if known.open_clip else list(patterns)
    source = fetch(known.repo, known.revision, [*configs, known.weights])
    _check_digest(known, source / known.weights)
    text = None
    if known.open_clip:
        repo, revision = known.open_clip
        text = fetch(repo, revision, _TEXT_FILES)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as folder:
            new = Path(folder, "whole")
            new.mkdir()
            for path in source.iterdir():
                if path.is_file() and path.suffix in (".json", ".txt", ".model"):
                    shutil.copyfile(path, new / path.name)
            if text is not None:
                (new / TEXT_TOWER).mkdir()
                for name in _TEXT_FILES:
                    if (text / name).is_file():
                        shutil.copyfile(text / name, new / TEXT_TOWER / name)
            weights = OPEN_CLIP_WEIGHTS if known.open_clip else _WEIGHTS
            _convert(known, source / known.weights, new / weights)
            (new / _DONE).write_text(f"{known.sha256}\n", "utf-8")
            if place.exists():
                shutil.rmtree(place)
            new.replace(place)
    except OSError as error:
        if is_whole(place):  # another process was quicker
            return
        raise EncoderUnavailable(
            f"encoder {known.name!r}: its weights cannot be kept in {place.parent} "
            f"({first_line(error)}); set CXR_CACHE to a folder with {known.bytes >> 20:,} MB free"
        ) from error


def _check_digest(known: Known, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != known.sha256:
        raise EncoderUnavailable(
            f"encoder {known.name!r}: {path} has sha256 {found[:12]}..., the published file has "
            f"{str(known.sha256)[:12]}...; delete it and try again"
        )


def _convert(known: Known, source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        # Copies: safetensors refuses tensors that share memory.
        tensors = {
            str(name): value.detach().clone().contiguous()
            for name, value in state.items()
            if isinstance(value, torch.Tensor) and not str(name).endswith("position_ids")
        }
    except Exception as error:  # torch and pickle raise many kinds, none shared
        raise EncoderUnavailable(
            f"encoder {known.name!r}: {source} does not read as weights ({first_line(error)}); "
            "delete it and try again"
        ) from error
    save_file(tensors, target, metadata={"format": "pt"})


def files_of(known: Known, patterns: Sequence[str]) -> Path:
    """The folder that holds a known encoder's files, fetched unless they are here already.

    Args:
        known: which.
        patterns: configuration, tokenizer and safetensors files of the transformers layout.

    Raises:
        EncoderUnavailable: in one line, why it cannot be had and what to do.
    """
    if not known.pickled:
        return fetch(known.repo, known.revision, patterns)
    place = place_of(known)
    if not is_whole(place):
        make(known, place, patterns)
    return place


def is_here(known: Known) -> bool:
    """Whether a known encoder is on this disk, so that it needs no network."""
    from huggingface_hub import try_to_load_from_cache

    if known.pickled:
        return is_whole(place_of(known))
    names = ("config.json", known.weights)
    found = [try_to_load_from_cache(known.repo, n, revision=known.revision) for n in names]
    return all(isinstance(path, str) for path in found)
