"""Find the files of an encoder and say exactly which encoder they are. No torch in here."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.encoders.hub import fetch, first_line
from ingest.encoders.registry import (
    KNOWN,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    TEXT_TOWER,
    files_of,
)
from store.errors import EncoderUnavailable

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
_INDEX = "model.safetensors.index.json"
_WEIGHTS = ("model*.safetensors", _INDEX)
#: Part of every fingerprint: raise it when this package turns the same files into other vectors.
_RECIPE = b"cxr-encoder 1: torchvision image processing, float32"
#: Vector length where old configuration files leave the library's default unsaid.
_IMPLIED_DIMENSION = {"clip": 512, "siglip": 768, "siglip2": 768}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """Where an encoder's files are, and what they are.

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
    """

    name: str
    folder: Path
    fingerprint: str
    dimension: int
    supports_text: bool
    layout: str = "transformers"
    precision: str = "float32"
    side: int = 0


def locate(name_or_path: str | Path, revision: str | None = None) -> EncoderFiles:
    """Find, check and fingerprint an encoder: a bundled or known name, a folder, or a hub id.

    Raises:
        EncoderUnavailable: in one line, what is missing or damaged and what to do about it.
    """
    name = str(name_or_path)
    bundled = Path(__file__).parent / name
    if isinstance(name_or_path, str) and name in bundled_names():
        return _inspect(name, bundled)
    if isinstance(name_or_path, str) and revision is None and name in KNOWN:
        return _inspect(name, files_of(KNOWN[name], [*_CONFIGS, *_TOKENIZERS, *_WEIGHTS]))
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _inspect(folder.name, folder)
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name):
        return _inspect(name, fetch(name, revision, [*_CONFIGS, *_TOKENIZERS, *_WEIGHTS]))
    raise EncoderUnavailable(
        f"no encoder {name!r}: expected a bundled name ({', '.join(bundled_names()) or 'none'}), "
        f"a known one ({', '.join(KNOWN)}), a folder that exists, or a hub id such as "
        "openai/clip-vit-base-patch32"
    )


def bundled_names() -> list[str]:
    """Names of the encoders that ship with the package."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/config.json"))


def _inspect(name: str, folder: Path) -> EncoderFiles:
    if (folder / OPEN_CLIP_CONFIG).is_file() and not (folder / "config.json").is_file():
        return _inspect_open_clip(name, folder)
    config = _read_json(name, folder / "config.json")
    weights = _weight_files(name, folder)
    for path in weights:
        _check_safetensors(name, path)
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
        fingerprint=_fingerprint(folder, weights),
        dimension=_dimension(name, config),
        supports_text=supports_text,
        side=_side(name, folder),
    )


def _inspect_open_clip(name: str, folder: Path) -> EncoderFiles:
    config = _read_json(name, folder / OPEN_CLIP_CONFIG).get("model_cfg", {})
    weights = folder / OPEN_CLIP_WEIGHTS
    if not weights.is_file():
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has no {OPEN_CLIP_WEIGHTS}; convert its weights to "
            "safetensors, or use a known name such as biomedclip, which does so"
        )
    _check_safetensors(name, weights)
    text = sorted(path for path in (folder / TEXT_TOWER).glob("*") if path.is_file())
    if (
        "hf_model_name" in config.get("text_cfg", {})
        and not (folder / TEXT_TOWER / "config.json").is_file()
    ):
        raise EncoderUnavailable(
            f"encoder {name!r}: its text tower is {config['text_cfg']['hf_model_name']}; put that "
            f"one's config.json and tokenizer files into {folder / TEXT_TOWER}"
        )
    dimension = config.get("embed_dim")
    if not isinstance(dimension, int) or dimension < 1:
        raise EncoderUnavailable(
            f"encoder {name!r}: its {OPEN_CLIP_CONFIG} tells no model_cfg.embed_dim"
        )
    fingerprint = _fingerprint(folder, [weights, folder / OPEN_CLIP_CONFIG, *text])
    preprocessing = _read_json(name, folder / OPEN_CLIP_CONFIG).get("preprocess_cfg") or {}
    size = preprocessing.get("size", config.get("vision_cfg", {}).get("image_size", 224))
    return EncoderFiles(
        name, folder, fingerprint, dimension, True, "open_clip", side=_largest(size)
    )


def _side(name: str, folder: Path) -> int:
    """What an image processor's configuration makes of an image's shorter edge."""
    found = []
    for file in _CONFIGS[1:]:
        if (folder / file).is_file():
            content = _read_json(name, folder / file)
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


def _read_json(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise EncoderUnavailable(
            f"encoder {name!r}: {path.parent} has no {path.name}; expected a folder written by "
            "save_pretrained (config.json, model.safetensors, preprocessor and tokenizer files)"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {path} is not readable JSON ({first_line(error)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise EncoderUnavailable(f"encoder {name!r}: {path} holds no JSON object; fetch it again")
    return content


def _weight_files(name: str, folder: Path) -> list[Path]:
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / _INDEX
    if index.is_file():
        shards = sorted({str(file) for file in _read_json(name, index)["weight_map"].values()})
        # a shard is a plain file name: an index must not reach outside its folder
        absent = [s for s in shards if Path(s).name != s or not (folder / s).is_file()]
        if absent or not shards:
            raise EncoderUnavailable(
                f"encoder {name!r}: {index} names {absent or 'no weights'}, which {folder} does "
                "not hold; fetch it again"
            )
        return [folder / shard for shard in shards]
    pickled = any(folder.glob("pytorch_model*.bin"))
    raise EncoderUnavailable(
        f"encoder {name!r}: {folder} has no model.safetensors; "
        + (
            "its pickled pytorch_model.bin can run code and is never loaded: convert it first"
            if pickled
            else "fetch the weights, or name a revision that has them as safetensors"
        )
    )


def _check_safetensors(name: str, path: Path) -> None:
    """Compare a file's length with what its own header promises; costs a few kilobytes read."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < size else None
        if not isinstance(header, dict):
            raise ValueError("no header")
        header.pop("__metadata__", None)
        promised = 8 + length + max((t["data_offsets"][1] for t in header.values()), default=0)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {path} is not a safetensors file (or only a Git LFS pointer to "
            "one); fetch it again"
        ) from error
    if promised != size:
        raise EncoderUnavailable(
            f"encoder {name!r}: {path} is damaged: {size} bytes where its header promises "
            f"{promised}; fetch it again"
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


def _fingerprint(folder: Path, weights: list[Path]) -> str:
    extras = (folder / file for file in (*_CONFIGS, *_TOKENIZERS, _INDEX))
    digest = hashlib.sha256(_RECIPE)
    for path in sorted({*weights, *(path for path in extras if path.is_file())}):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256")
        digest.update(path.name.encode() + b"\0" + inner.digest())
    return digest.hexdigest()
