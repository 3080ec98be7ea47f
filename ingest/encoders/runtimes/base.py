"""Loaded models: device, precision, framing, and what runtimes of both layouts share.

Imports neither torch nor transformers before a model is loaded.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from ingest.encoders.download import in_one_line
from ingest.record import Pixels
from store import CxrError, EncoderUnavailable, Vectors

if TYPE_CHECKING:
    import torch

    from ingest.encoders.files.found import EncoderFiles

#: Prepared images: pixels, or several arrays by their names.
Inputs: TypeAlias = Union["torch.Tensor", "dict[str, torch.Tensor]"]


@dataclass(frozen=True, slots=True)
class Framing:
    """Framing: the part of an image that becomes the model's input.

    Attributes:
        edge: which edge is scaled to ``side``: ``shortest``, ``longest`` or ``both``.
        side: in pixels; 0 where an image keeps its size.
        crop: height and width that are cut from the centre, or padded to; None where nothing is.
    """

    edge: str
    side: int
    crop: tuple[int, int] | None

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is seen, as fractions of an image's sides."""
        if self.crop is None or self.edge == "both":
            return 0.0, 0.0, 1.0, 1.0
        edge = min(height, width) if self.edge == "shortest" else max(height, width)
        scale = self.side / edge if self.side else 1.0
        left = 0.5 - self.crop[1] / (2 * scale * width)
        top = 0.5 - self.crop[0] / (2 * scale * height)
        return left, top, 1 - left, 1 - top


def framing_of(processor: Any) -> Framing:
    """Framing by a transformers image processor."""
    size, crop = (getattr(processor, name, None) for name in ("size", "crop_size"))
    edge, side = "shortest", 0
    if getattr(processor, "do_resize", False) and size is not None:
        side = getattr(size, "shortest_edge", None) or 0
        if not side:
            edge = "both"
    if crop is None or not getattr(processor, "do_center_crop", False):
        return Framing(edge, side, None)
    return Framing(edge, side, (crop.height, crop.width))


def framed(size: int | tuple[int, int], mode: str) -> Framing:
    """Framing by open_clip's preprocessing: its image size and its ``resize_mode``."""
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    edge = "both" if mode == "squash" else mode
    return Framing(edge, min(height, width), (height, width))


def cast(precision: str, device: Any) -> contextlib.AbstractContextManager[Any]:
    """Context of a precision for forward passes.

    Raises:
        EncoderUnavailable: bf16 on anything but cuda, where it is slower or not there.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    if device.type != "cuda":
        raise EncoderUnavailable(
            f"precision {precision} is for cuda, and the device here is {device.type}; drop "
            f"@{precision} from the encoder's name, or pass --device cuda"
        )
    import torch

    return torch.autocast("cuda", dtype=torch.bfloat16)


def pick_device(wanted: str | None = None) -> torch.device:
    """The device asked for, else cuda, else mps, else cpu.

    Raises:
        EncoderUnavailable: torch does not know or does not see the device.
    """
    import torch

    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderUnavailable(
            f"device {wanted!r} cannot be used here; choose cpu, or install a torch build for it"
        ) from error
    return device


class Runtime:
    """A model with its preprocessing and tokenizer on one device, in inference mode.

    Attributes:
        device: where it computes.
        framing: what part of an image the model sees.
        model: the model itself; shared by threads, so never changed.

    Raises:
        EncoderUnavailable: the files do not load completely, or the device is not there.
    """

    framing: Framing
    model: Any

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        self._files = files
        self._tokenizing = threading.Lock()  # fast tokenizers keep padding as shared state
        self._tokenizer_lock = threading.Lock()
        self._tokenizer: Any = None
        self.device = pick_device(device)
        cast(files.precision, self.device)

    @property
    def family(self) -> str:
        """The class of the model, as its library calls it."""
        return type(self.model).__name__

    def prepare(self, images: Sequence[Pixels]) -> Inputs:
        """Uint8 images as the model takes them.

        Returns:
            Pixels, float32 (n, channels, height, width); or several arrays by their names, of a
            model that takes images as patches of any number.
        """
        raise NotImplementedError

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        raise NotImplementedError

    def tokenizer(self) -> Any:
        """The tokenizer; loaded when a text is asked for first.

        Raises:
            EncoderUnavailable: it does not load.
        """
        with self._tokenizer_lock:
            if self._tokenizer is None:
                try:
                    self._tokenizer = self._load_tokenizer()
                except ImportError as error:
                    raise EncoderUnavailable(
                        f"encoder {self._files.name!r}: its tokenizer needs a library that is not "
                        f"here ({in_one_line(error)}); install it with: "
                        "pip install sentencepiece protobuf"
                    ) from error
                except Exception as error:  # transformers raises many kinds, none shared
                    raise EncoderUnavailable(
                        f"encoder {self._files.name!r}: its tokenizer in {self._files.folder} does "
                        f"not load ({in_one_line(error)}); fetch its files again. Images can be "
                        "encoded without it"
                    ) from error
            return self._tokenizer

    def _load_tokenizer(self) -> Any:
        raise NotImplementedError

    def longest(self) -> int:
        """Tokens that the model reads at most, those that mark begin and end included."""
        raise NotImplementedError

    def count_tokens(self, text: str) -> int:
        """Tokens of a whole text, those that mark begin and end included."""
        raise NotImplementedError

    def _tokens(self, texts: Sequence[str]) -> Any:
        """Texts as the model takes them, on its device."""
        raise NotImplementedError

    def _read(self, tokens: Any) -> torch.Tensor:
        """Raw features of tokenized texts, (n, dimension), in the model's own precision."""
        raise NotImplementedError

    def image_features(self, images: Sequence[Pixels]) -> Vectors:
        """Raw features of uint8 images, float32 (n, dimension), not normalised."""
        import torch

        with self._named_faults(len(images), "image", "preprocessor_config.json"):
            inputs = self.prepare(images)
            with torch.inference_mode(), cast(self._files.precision, self.device):
                return self._array(self.features(inputs))

    def text_features(self, texts: Sequence[str]) -> Vectors:
        """Raw features of texts, float32 (n, dimension), not normalised."""
        import torch

        self.tokenizer()
        with self._named_faults(len(texts), "text", "the tokenizer's files"):
            with self._tokenizing:
                tokens = self._tokens(texts)
            with torch.inference_mode(), cast(self._files.precision, self.device):
                return self._array(self._read(tokens))

    @contextlib.contextmanager
    def _named_faults(self, count: int, given: str, preparing: str) -> Iterator[None]:
        """Any exception of a model as one line: of its family, its library's reason, a remedy."""
        try:
            yield
        except CxrError:
            raise
        except Exception as error:  # models raise many kinds, none shared
            side = self._files.side
            seen = f", given {side} pixels," if side and given == "image" else ""
            remedy = (
                f"free some memory of {self.device}, or choose another with --device"
                if _is_lack_of_memory(error)
                else f"config.json and {preparing} in {self._files.folder} must fit each other: "
                "fetch all its files from one place, or take another encoder"
            )
            raise EncoderUnavailable(
                f"encoder {self._files.name!r}: {self.family}{seen} fails on {count} {given}"
                f"{'' if count == 1 else 's'} ({in_one_line(error)}); {remedy}"
            ) from error

    def _array(self, features: torch.Tensor) -> Vectors:
        array: Vectors = features.float().cpu().numpy()
        name, dimension = self._files.name, self._files.dimension
        if array.ndim != 2 or array.shape[1] != dimension:
            raise EncoderUnavailable(
                f"encoder {name!r} gave vectors of shape {array.shape[1:]} where its configuration "
                f"declares ({dimension},); it is not a supported model"
            )
        return array


def _is_lack_of_memory(error: Exception) -> bool:
    import torch

    lacks = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, lacks) or "not enough memory" in str(error)


def unit_rows(features: Vectors, name: str) -> Vectors:
    """Features of an encoder scaled to length 1, float32 (n, d).

    Raises:
        EncoderUnavailable: one is zero or not finite.
    """
    whole = features.astype(np.float64)
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise EncoderUnavailable(
            f"encoder {name!r} gave a vector that is zero or not finite; "
            "its weights are damaged: fetch or train it again"
        )
    unit: Vectors = (whole / lengths).astype(np.float32)
    return unit


def text_positions(model: Any) -> int | None:
    """Tokens of a text that a model has positions for; None where it does not say.

    RoBERTa counts positions from the one after that of padding: of 514 it has use for 512.
    """
    import torch

    config = getattr(model, "config", None)
    config = getattr(config, "text_config", config)
    found: int | None = getattr(config, "max_position_embeddings", None)
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, torch.nn.Embedding):
            padding = part.padding_idx
            if padding is not None:
                return part.num_embeddings - padding - 1
    return found


def check_complete(
    files: EncoderFiles,
    absent: Sequence[str],
    unknown: Sequence[str] = (),
    unlike: Sequence[tuple[str, Sequence[int], Sequence[int]]] = (),
) -> None:
    """Refuse weights that do not fit the model, with EncoderUnavailable.

    Args:
        files: of the encoder.
        absent: parameters of the model that the weights lack.
        unknown: weights that the model has no parameter for.
        unlike: parameters of another shape: name, shape in the weights, shape in the model.
    """
    # A table of positions 0, 1, 2 ... that older files carry, and newer ones do not.
    unknown = [name for name in unknown if not name.endswith("position_ids")]
    if unknown:
        raise EncoderUnavailable(
            f"encoder {files.name!r}: the weights in {files.folder} hold {len(unknown)} parameters "
            f"that the model of its configuration does not have (e.g. {min(unknown)}); they would "
            "be dropped in silence: give the configuration of the model that was saved"
        )
    if unlike:
        name, held, built = min(unlike)
        raise EncoderUnavailable(
            f"encoder {files.name!r}: {len(unlike)} of the weights in {files.folder} have another "
            f"shape than its config.json describes (e.g. {name}: {list(held)} in the weights, "
            f"{list(built)} by the configuration): give the configuration of the model that was "
            "saved"
        )
    if absent:
        raise EncoderUnavailable(
            f"encoder {files.name!r}: the weights in {files.folder} lack {len(absent)} of the "
            f"model's parameters (e.g. {min(absent)}); untrained weights are never used: fetch or "
            "train it again"
        )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No warnings or progress bars of transformers inside the block."""
    # A second of imports: an encoder is located without them.
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
