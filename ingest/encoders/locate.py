"""Locator of encoders: finds, checks and fingerprints their files. No torch in here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingest.encoders import baselines
from ingest.encoders.adapted import files as adapter_files
from ingest.encoders.download import fetch, files_of, in_one_line
from ingest.encoders.files.contents import Contents
from ingest.encoders.files.found import (
    TOKENIZERS,
    WEIGHTS,
    EncoderFiles,
    split_name,
    with_precision,
)
from ingest.encoders.files.pickled import converted
from ingest.encoders.registry import KNOWN, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER
from ingest.encoders.runtimes.weights import header
from store import EncoderStamp, EncoderUnavailable, UsageError, expanded

log = logging.getLogger("ingest")

#: The encoder that ships with the package.
DEFAULT_ENCODER = "cxr-clip-28"

#: Files that decide the vectors; a model card or a training curve does not.
_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
_INDEX = f"{WEIGHTS}.index.json"
_WEIGHTS = ("model*.safetensors", _INDEX)
#: Part of every fingerprint: raise it when this package turns the same files into other vectors.
_RECIPE = b"cxr-encoder 1: torchvision image processing, float32"
#: Vector length where old configuration files leave the library's default unsaid.
_IMPLIED_DIMENSION = {"clip": 512, "siglip": 768, "siglip2": 768, "clip_vision_model": 512}
#: Pickled weights, where a folder has no others: of transformers and timm, of open_clip.
_PICKLED, _OPEN_CLIP_PICKLED = "pytorch_model.bin", "open_clip_pytorch_model.bin"

#: Before a bundled or known name, where a folder has the same.
_KNOWN_MARK = "known:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(name_or_path: str | Path, revision: str | None = None) -> EncoderFiles:
    """Find, check and fingerprint an encoder: a bundled or known name, a folder, or a hub id.

    A text that is a bundled or known name is that encoder; a folder of the same name here is
    ``./NAME``. While there is one with an encoder in it, the bare name of a bundled encoder warns,
    and that of a known one, which would be downloaded, is refused.

    Raises:
        EncoderUnavailable: in one line, what is missing or damaged and what to do about it.
        UsageError: a name that is a known encoder's and a folder's.
    """
    name = str(name_or_path)
    bundled = isinstance(name_or_path, str) and name in (*bundled_names(), baselines.NAME)
    if bundled or (isinstance(name_or_path, str) and revision is None and name in KNOWN):
        if _is_encoder(Path(name)):
            twice = (
                f"encoder {name!r} is a known one and a folder here: say ./{name} for the folder, "
                f"or {_KNOWN_MARK}{name} for the known one"
            )
            if not bundled:
                raise UsageError(twice)
            log.warning("%s; taken is the one that ships with the package", twice)
        return _of_registry(name)
    if isinstance(name_or_path, str) and name.startswith(_KNOWN_MARK):
        if (bare := name.removeprefix(_KNOWN_MARK)) in _names():
            return _of_registry(bare)
    elif expanded(name).is_dir():
        folder = expanded(name).resolve()
        return replace(inspect(folder.name, folder), own=True)
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name):
        return inspect(name, _fetched(name, revision))
    raise EncoderUnavailable(
        f"no encoder {name!r}: expected a bundled name ({', '.join(bundled_names()) or 'none'}), "
        f"a known one ({', '.join(KNOWN)}), a folder that exists, or a hub id such as "
        "openai/clip-vit-base-patch32"
    )


def _fetched(repo: str, revision: str | None) -> Path:
    """The folder of a hub model's files: weights in one form, a pickle if only that is there."""
    folder = fetch(repo, revision, [*_CONFIGS, OPEN_CLIP_CONFIG, *TOKENIZERS, *_WEIGHTS])
    if _is_open_clip(repo, Contents(folder)):
        forms = [[OPEN_CLIP_WEIGHTS], [_OPEN_CLIP_PICKLED]]
    elif _has_weights(folder):
        return folder
    else:
        forms = [[_PICKLED, "pytorch_model-*.bin", f"{_PICKLED}.index.json"]]
    for patterns in forms:
        folder = fetch(repo, revision, patterns)
        if any((folder / file).is_file() for file in patterns):
            break
    return folder


def _of_registry(name: str) -> EncoderFiles:
    """A bundled or known encoder."""
    if name == baselines.NAME:
        return _pixels()
    if name in KNOWN:
        return inspect(name, files_of(KNOWN[name], [*_CONFIGS, *TOKENIZERS, *_WEIGHTS]))
    return inspect(name, Path(__file__).parent / name)


def unmistakable(name: str) -> str:
    """A stored name as ``locate`` takes it, whatever folders there are here."""
    known = name in _names()
    return f"{_KNOWN_MARK}{name}" if known and _is_encoder(Path(name)) else name


def _is_encoder(folder: Path) -> bool:
    files = ("config.json", OPEN_CLIP_CONFIG, adapter_files.CARD)
    return any((folder / file).is_file() for file in files)


def _names() -> list[str]:
    """Names of encoders that need no folder."""
    return [*bundled_names(), baselines.NAME, *KNOWN]


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
        if (folder / adapter_files.CARD).is_file():
            return _inspect_adapted(name, contents)
        config = folder / "config.json"
        if _is_open_clip(name, contents):
            return _inspect_open_clip(name, Contents(folder))
        if config.is_file() and _is_timm(_read_json(name, contents, config.name)):
            return _inspect_timm(name, contents)
        return _inspect_transformers(name, contents)
    except OSError as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} cannot be read ({in_one_line(error)}); try again when "
            "nobody writes there"
        ) from error


def _is_open_clip(name: str, contents: Contents) -> bool:
    """Whether a folder is one of open_clip, and not also a whole model of transformers."""
    folder = contents.folder
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        return False
    if not (folder / "config.json").is_file() or not _has_weights(folder):
        return True
    return "model_type" not in _read_json(name, contents, "config.json")


def _is_timm(config: dict[str, Any]) -> bool:
    """Whether a configuration is timm's own; transformers adds its type where it wraps one."""
    return "architecture" in config and config.get("model_type") in (None, "timm_wrapper")


def _pixels() -> EncoderFiles:
    """Raw pixels as an encoder: no files at all."""
    return EncoderFiles(
        name=baselines.NAME,
        folder=Path(__file__).parent,
        fingerprint=baselines.FINGERPRINT,
        dimension=baselines.SIDE**2,
        supports_text=False,
        layout="pixels",
        side=baselines.SIDE,
        contents=Contents(Path(__file__).parent),
    )


def _inspect_adapted(name: str, contents: Contents) -> EncoderFiles:
    card = adapter_files.read_reference(name, contents)
    adapter_files.read_map(name, contents, card)
    base = _base_of(name, contents.folder, card.base)
    return EncoderFiles(
        name=name,
        folder=contents.folder,
        fingerprint=adapter_files.fingerprint(card.base, contents.read(adapter_files.MAP).sha256),
        dimension=card.dimension,
        supports_text=base.supports_text and card.no_text is None,
        no_text=card.no_text if base.supports_text else base.no_text,
        layout="adapted",
        side=base.side,
        base=base,
        contents=contents,
    )


def _base_of(name: str, folder: Path, wanted: EncoderStamp) -> EncoderFiles:
    """The encoder below a map: in the map's own folder, else where or how the card calls it."""
    beside = folder / adapter_files.BASE
    if wanted.name.startswith("external:") and not beside.is_dir():
        raise EncoderUnavailable(
            f"encoder {name!r} is a map on vectors that were imported without saying which encoder "
            f"made them ({wanted.name}): galleries can be mapped and searched by id; for images, "
            f"put the folder of that encoder, or a link to it, at {beside}"
        )
    address, precision = split_name(wanted.address)
    place: str | Path = beside if beside.is_dir() else address
    if not beside.is_dir() and wanted.folder is None:
        place = unmistakable(address)
    if Path(place).resolve() == folder:
        raise EncoderUnavailable(f"encoder {name!r}: its card calls itself its base; make it anew")
    try:
        found = with_precision(locate(place), precision)
    except (EncoderUnavailable, UsageError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r} is a map on encoder {wanted}, which is not found here ({error}); "
            f"put that one's folder, or a link to it, at {beside}"
        ) from error
    if found.fingerprint != wanted.fingerprint:
        raise EncoderUnavailable(
            f"encoder {name!r} is a map on encoder {wanted}, but {place} has fingerprint "
            f"{found.fingerprint[:12]}; put the folder of the one it was learnt on, or a link to "
            f"it, at {beside}"
        )
    return found


def _inspect_transformers(name: str, contents: Contents) -> EncoderFiles:
    folder = contents.folder
    config = _read_json(name, contents, "config.json")
    weights = _weight_files(name, contents)
    if not any((folder / file).is_file() for file in _CONFIGS[1:]):
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has no preprocessor_config.json or processor_config.json; "
            "save the image processor there too (AutoImageProcessor.save_pretrained)"
        )
    named = config.get("architectures")
    built = str(named[0]) if isinstance(named, list) and named else str(named or "")
    alone = "Vision" in built.removeprefix("VisionText") or "ForImage" in built
    supports_text = "text_config" in config and not alone
    if supports_text and not any((folder / file).is_file() for file in TOKENIZERS):
        raise EncoderUnavailable(
            f"encoder {name!r}: {folder} has a text tower but no tokenizer files; "
            "save the tokenizer there too (AutoTokenizer.save_pretrained)"
        )
    return EncoderFiles(
        name=name,
        folder=folder,
        fingerprint=_fingerprint(name, contents, weights),
        dimension=_dimension(name, config, contents, projected=not alone or "Projection" in built),
        supports_text=supports_text,
        side=_side(name, contents),
        contents=contents,
    )


def _inspect_timm(name: str, contents: Contents) -> EncoderFiles:
    config = _read_json(name, contents, "config.json")
    weights = _weight_files(name, contents)
    try:
        from ingest.encoders.runtimes.timm_models import measured
    except ImportError as error:
        raise EncoderUnavailable(
            f"encoder {name!r} is built by timm, which is not installed here; install it with: "
            "pip install 'cxr-retrieval[timm]'"
        ) from error
    try:
        with contents.laid_out() as folder:
            dimension, side = measured(folder)
    except Exception as error:  # timm raises many kinds, none shared
        raise EncoderUnavailable(
            f"encoder {name!r}: timm does not build {config['architecture']!r} "
            f"({in_one_line(error)}); check its config.json, or install a newer timm"
        ) from error
    return EncoderFiles(
        name=name,
        folder=contents.folder,
        fingerprint=_fingerprint(name, contents, weights),
        dimension=dimension,
        supports_text=False,
        layout="timm",
        side=side,
        contents=contents,
    )


def _inspect_open_clip(name: str, contents: Contents) -> EncoderFiles:
    folder = contents.folder
    path, whole = folder / OPEN_CLIP_CONFIG, _read_json(name, contents, OPEN_CLIP_CONFIG)
    config, prepared = (_part(name, path, whole, key) for key in ("model_cfg", "preprocess_cfg"))
    tower, vision = (_part(name, path, config, key) for key in ("text_cfg", "vision_cfg"))
    if not (folder / OPEN_CLIP_WEIGHTS).is_file():
        pickle = folder / _OPEN_CLIP_PICKLED
        if not pickle.is_file():
            raise EncoderUnavailable(
                f"encoder {name!r}: {folder} has no {OPEN_CLIP_WEIGHTS}, and no "
                f"{_OPEN_CLIP_PICKLED} that could be converted; fetch its weights"
            )
        contents.read(OPEN_CLIP_WEIGHTS, converted(name, [pickle]))
    text = [path.name for path in (folder / TEXT_TOWER).glob("*") if path.is_file()]
    if "hf_model_name" in tower and "config.json" not in text:
        raise EncoderUnavailable(
            f"encoder {name!r}: its text tower is {tower['hf_model_name']}; put that "
            f"one's config.json and tokenizer files into {folder / TEXT_TOWER}"
        )
    own = tower.get("hf_tokenizer_name") or tower.get("hf_model_name")
    no_text = None
    if own and not any(file in TOKENIZERS for file in (*map(_name, folder.iterdir()), *text)):
        no_text = (
            f"its tokenizer is that of {own}; put that one's tokenizer files (tokenizer.json and "
            f"tokenizer_config.json) into {folder}, before films are encoded: they are part of its "
            "fingerprint"
        )
    dimension = config.get("embed_dim")
    if not isinstance(dimension, int) or dimension < 1:
        raise EncoderUnavailable(
            f"encoder {name!r}: its {OPEN_CLIP_CONFIG} tells no model_cfg.embed_dim"
        )
    for file in text:
        contents.read(f"{TEXT_TOWER}/{file}")
    size = prepared.get("size", vision.get("image_size", 224))
    return EncoderFiles(
        name=name,
        folder=folder,
        fingerprint=_fingerprint(name, contents, [OPEN_CLIP_WEIGHTS]),
        dimension=dimension,
        supports_text=no_text is None,
        no_text=no_text,
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
            f"encoder {name!r}: {path} is not readable JSON ({in_one_line(error)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise EncoderUnavailable(f"encoder {name!r}: {path} holds no JSON object; fetch it again")
    return content


def _part(name: str, path: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of a configuration; empty where there is none."""
    found = content.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise EncoderUnavailable(
            f"encoder {name!r}: {key} in {path} is {str(found)[:40]!r}; expected a JSON object: "
            "fetch the file again"
        )
    return found


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
    if pickles := _pickles(name, contents):
        contents.read(WEIGHTS, converted(name, pickles))
        return [WEIGHTS]
    others = [path for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt", ".pth")]
    raise EncoderUnavailable(
        f"encoder {name!r}: {folder} has no {WEIGHTS}, and no {_PICKLED} that could be converted; "
        + (
            f"if {others[0].name} holds its weights, call it {_PICKLED}"
            if others
            else "put its weights there"
        )
    )


def _pickles(name: str, contents: Contents) -> list[Path]:
    """The pickled weights of a folder, one file or all parts; empty where there are none."""
    folder, index = contents.folder, contents.folder / f"{_PICKLED}.index.json"
    if (folder / _PICKLED).is_file():
        return [folder / _PICKLED]
    if not index.is_file():
        return []
    try:
        parts = sorted(set(map(str, json.loads(index.read_bytes())["weight_map"].values())))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {index} is no index of weights ({in_one_line(error)}); fetch it "
            "again"
        ) from error
    absent = [part for part in parts if Path(part).name != part or not (folder / part).is_file()]
    if absent or not parts:
        raise EncoderUnavailable(
            f"encoder {name!r}: {index} names {absent or 'no weights'}, which {folder} does not "
            "hold; fetch it again"
        )
    return [folder / part for part in parts]


def _has_weights(folder: Path) -> bool:
    files = WEIGHTS, _INDEX, _PICKLED, f"{_PICKLED}.index.json"
    return any((folder / file).is_file() for file in files)


def _name(path: Path) -> str:
    return path.name


def _dimension(name: str, config: dict[str, Any], contents: Contents, projected: bool) -> int:
    vision = _part(name, contents.folder / "config.json", config, "vision_config")
    kind = str(config.get("model_type"))
    declared = (
        (projected and config.get("projection_dim"))
        or vision.get("hidden_size")
        or (projected and _IMPLIED_DIMENSION.get(kind))
        or config.get("hidden_size")
    )
    if isinstance(declared, int) and declared > 0:
        return declared
    # Convolutional towers call it in many ways: their own library tells.
    from ingest.encoders.runtimes.image_towers import measured

    try:
        with contents.laid_out() as folder:
            return measured(folder)
    except Exception as error:  # transformers raises many kinds, none shared
        raise EncoderUnavailable(
            f"encoder {name!r}: its config.json (model_type {kind!r}) tells no vector length "
            f"({in_one_line(error)}); expected projection_dim or hidden_size"
        ) from error


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
    for file in (*_CONFIGS, *TOKENIZERS, _INDEX):
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
