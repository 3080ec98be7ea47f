"""Locator of encoders: finds, checks and fingerprints their files. No torch in here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingest.encoders.contents import Contents
from ingest.encoders.download import fetch, files_of, first_line
from ingest.encoders.registry import KNOWN, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER
from ingest.encoders.weights import header
from store import EncoderUnavailable, expanded

#: The encoder that ships with the package.
DEFAULT_ENCODER = "cxr-clip-28"

#: Files that decide the vectors; a model card or a training curve does not.
_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_WEIGHTS = ("model*.safetensors", _INDEX)
#: Part of every fingerprint: raise it when this package turns the same files into other vectors.
_RECIPE = b"cxr-encoder 1: torchvision image processing, float32"
#: Vector length where old configuration files leave the library's default unsaid.
_IMPLIED_DIMENSION = {"clip": 512, "siglip": 768, "siglip2": 768}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """Files and identity of an encoder.

    Attributes:
        name: what a person calls it.
        folder: where its configuration, weights and tokenizer lie.
        fingerprint: hex sha256 over every file that decides its vectors.
        dimension: length of its vectors, as the configuration declares it.
        supports_text: whether there is a text tower and a tokenizer.
        layout: ``transformers`` or ``open_clip``: which library builds it.
        precision: ``float32`` or ``bf16``, of the forward pass.
        side: of the square that its preprocessing makes of an image, in pixels, or what the shorter
            edge becomes; 0 where the configuration does not say.
        contents: the bytes that the fingerprint was taken over.
    """

    name: str
    folder: Path
    fingerprint: str
    dimension: int
    supports_text: bool
    layout: str = "transformers"
    precision: str = "float32"
    side: int = 0
    contents: Contents = field(kw_only=True, compare=False, repr=False)


def locate(name_or_path: str | Path, revision: str | None = None) -> EncoderFiles:
    """Find, check and fingerprint an encoder: a bundled or known name, a folder, or a hub id.

    Raises:
        EncoderUnavailable: in one line, what is missing or damaged and what to do about it.
    """
    name = str(name_or_path)
    bundled = Path(__file__).parent / name
    if isinstance(name_or_path, str) and name in bundled_names():
        return inspect(name, bundled)
    if isinstance(name_or_path, str) and revision is None and name in KNOWN:
        return inspect(name, files_of(KNOWN[name], [*_CONFIGS, *_TOKENIZERS, *_WEIGHTS]))
    if expanded(name).is_dir():
        folder = expanded(name).resolve()
        return inspect(folder.name, folder)
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name):
        return inspect(name, fetch(name, revision, [*_CONFIGS, *_TOKENIZERS, *_WEIGHTS]))
    raise EncoderUnavailable(
        f"no encoder {name!r}: expected a bundled name ({', '.join(bundled_names()) or 'none'}), "
        f"a known one ({', '.join(KNOWN)}), a folder that exists, or a hub id such as "
        "openai/clip-vit-base-patch32"
    )


def bundled_names() -> list[str]:
    """Names of the encoders that ship with the package."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/config.json"))


def inspect(name: str, folder: Path) -> EncoderFiles:
    """Read, check and fingerprint the encoder in a folder.

    Raises:
        EncoderUnavailable: in one line, what is missing or damaged and what to do about it.
    """
    contents = Contents(folder)
    try:
        if (folder / OPEN_CLIP_CONFIG).is_file() and not (folder / "config.json").is_file():
            return _inspect_open_clip(name, contents)
        return _inspect_transformers(name, contents)
    except OSError as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} cannot be read ({first_line(error)}); try again when "
            "nobody writes there"
        ) from error


def _inspect_transformers(name: str, contents: Contents) -> EncoderFiles:
    folder = contents.folder
    config = _read_json(name, contents, "config.json")
    weights = _weight_files(name, contents)
    if not any((folder / file).is_file() for file in _CONFIGS[1:]):
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has no preprocessor_config.json or processor_config.json; "
            "save the image processor there too (AutoImageProcessor.save_pretrained)"
        )
    supports_text = "text_config" in config
    if supports_text and not any((folder / file).is_file() for file in _TOKENIZERS):
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has a text tower but no tokenizer files; "
            "save the tokenizer there too (AutoTokenizer.save_pretrained)"
        )
    return EncoderFiles(
        name=name,
        folder=folder,
        fingerprint=_fingerprint(name, contents, weights),
        dimension=_dimension(name, config),
        supports_text=supports_text,
        side=_side(name, contents),
        contents=contents,
    )


def _inspect_open_clip(name: str, contents: Contents) -> EncoderFiles:
    folder = contents.folder
    config = _read_json(name, contents, OPEN_CLIP_CONFIG).get("model_cfg", {})
    if not (folder / OPEN_CLIP_WEIGHTS).is_file():
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has no {OPEN_CLIP_WEIGHTS}; convert its weights to "
            "safetensors, or use a known name such as biomedclip, which does so"
        )
    text = [path.name for path in (folder / TEXT_TOWER).glob("*") if path.is_file()]
    if "hf_model_name" in config.get("text_cfg", {}) and "config.json" not in text:
        raise EncoderUnavailable(
            f"encoder {name!r}: its text tower is {config['text_cfg']['hf_model_name']}; put that "
            f"one's config.json and tokenizer files into {folder / TEXT_TOWER}"
        )
    dimension = config.get("embed_dim")
    if not isinstance(dimension, int) or dimension < 1:
        raise EncoderUnavailable(
            f"encoder {name!r}: its {OPEN_CLIP_CONFIG} tells no model_cfg.embed_dim"
        )
    for file in text:
        contents.read(f"{TEXT_TOWER}/{file}")
    preprocessing = _read_json(name, contents, OPEN_CLIP_CONFIG).get("preprocess_cfg") or {}
    size = preprocessing.get("size", config.get("vision_cfg", {}).get("image_size", 224))
    return EncoderFiles(
        name=name,
        folder=folder,
        fingerprint=_fingerprint(name, contents, [OPEN_CLIP_WEIGHTS]),
        dimension=dimension,
        supports_text=True,
        layout="open_clip",
        side=_largest(size),
        contents=contents,
    )


def _side(name: str, contents: Contents) -> int:
    """Length of an image's shorter edge after preprocessing, by its configuration; 0 if unknown."""
    found = []
    for file in _CONFIGS[1:]:
        if (contents.folder / file).is_file():
            content = _read_json(name, contents, file)
            settings = content.get("image_processor", content)
            if isinstance(settings, dict) and settings.get("do_resize", False):
                found.append(_largest(settings.get("size")))
    return max(found, default=0)


def _largest(size: Any) -> int:
    """The side in any of the ways to write a size; 0 in another."""
    if isinstance(size, dict):
        size = [size.get(edge) for edge in ("shortest_edge", "height", "width") if edge in size]
    sides = size if isinstance(size, list) else [size]
    return max((side for side in sides if isinstance(side, int)), default=0)


def _read_json(name: str, contents: Contents, file: str) -> dict[str, Any]:
    path = contents.folder / file
    if not path.is_file():
        raise EncoderUnavailable(
            f"encoder {name!r}: {path.parent} has no {path.name}; expected a folder written by "
            "save_pretrained (config.json, model.safetensors, preprocessor and tokenizer files)"
        )
    try:
        content = json.loads(bytes(contents.read(file).bytes))
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {path} is not readable JSON ({first_line(error)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise EncoderUnavailable(f"encoder {name!r}: {path} holds no JSON object; fetch it again")
    return content


def _weight_files(name: str, contents: Contents) -> list[str]:
    folder = contents.folder
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    index = folder / _INDEX
    if index.is_file():
        told = _read_json(name, contents, _INDEX).get("weight_map")
        shards = sorted({str(file) for file in told.values()}) if isinstance(told, dict) else []
        # a shard is a plain file name: an index must not reach outside its folder
        absent = [s for s in shards if Path(s).name != s or not (folder / s).is_file()]
        if absent or not shards:
            raise EncoderUnavailable(
                f"encoder {name!r}: {index} names {absent or 'no weights'}, which {folder} does "
                "not hold; fetch it again"
            )
        return shards
    pickled = any(folder.glob("pytorch_model*.bin"))
    raise EncoderUnavailable(
        f"encoder {name!r}: {folder} has no model.safetensors; "
        + (
            "its pickled pytorch_model.bin can run code and is never loaded: convert it first"
            if pickled
            else "fetch the weights, or name a revision that has them as safetensors"
        )
    )


def _dimension(name: str, config: dict[str, Any]) -> int:
    vision = config.get("vision_config") or {}
    declared = (
        config.get("projection_dim")
        or vision.get("hidden_size")
        or _IMPLIED_DIMENSION.get(str(config.get("model_type")))
        or config.get("hidden_size")
    )
    if not isinstance(declared, int) or declared < 1:
        raise EncoderUnavailable(
            f"encoder {name!r}: its config.json (model_type {config.get('model_type')!r}) tells no "
            "vector length; expected projection_dim or vision_config.hidden_size"
        )
    return declared


def _fingerprint(name: str, contents: Contents, weights: list[str]) -> str:
    """Read what was not read yet; the digest over all of it."""
    for file in weights:
        content = contents.read(file)
        try:
            header(content.bytes)
        except ValueError as error:
            raise EncoderUnavailable(
                f"encoder {name!r}: {content.path} {error}; fetch it again"
            ) from error
    for file in (*_CONFIGS, *_TOKENIZERS, _INDEX):
        if (contents.folder / file).is_file():
            contents.read(file)
    return contents.digest(_RECIPE)


#: The file that ``cxr train`` writes beside a checkpoint, and the key in it.
FILE, KEY = "training.json", "trained_on"

#: Data set and split, e.g. ``("pneumoniamnist", "train")``.
Split = tuple[str, str]


def as_entries(splits: Iterable[Split]) -> list[dict[str, str]]:
    """Splits as they are kept in the file."""
    return [{"dataset": dataset, "split": split} for dataset, split in sorted(set(splits))]


def seen_in_training(folder: Path) -> frozenset[Split]:
    """The splits that a checkpoint says it learnt from; none where it does not say."""
    try:
        stat = (folder / FILE).stat()
    except OSError:
        return frozenset()
    return _read(folder / FILE, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> frozenset[Split]:
    try:
        entries = json.loads(path.read_text("utf-8")).get(KEY, [])
        return frozenset((str(one["dataset"]), str(one["split"])) for one in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()  # a damaged note is no note
