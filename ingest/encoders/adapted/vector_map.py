"""Map of vectors: what an adapted encoder does with the vectors of its base.

A map has branches, each of one or two affine layers with a ReLU between them. One branch of one
layer is a linear map, which sentences can go through as well as films. The vectors of several
branches are brought to their branch's length and put one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store import Vectors

#: Rows mapped at once: bounds memory by the width of the widest layer.
_BLOCK = 8192
#: A sum of squares below this is no direction.
_SMALLEST = 1e-24


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Affine layer: ``x @ weight.T + bias``.

    Attributes:
        weight: float32 (out, in).
        bias: float32 (out,).
    """

    weight: Vectors
    bias: Vectors

    def __call__(self, rows: Vectors) -> Vectors:
        """float32 (n, in) to float32 (n, out)."""
        found: Vectors = rows @ self.weight.T + self.bias
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """Layers one after the other with a ReLU between them.

    Attributes:
        layers: one or two; none leaves a vector as it is.
        length: of its vectors where there are several branches.
    """

    layers: tuple[Layer, ...]
    length: float = 1.0

    def __call__(self, rows: Vectors) -> Vectors:
        """float32 (n, in) to float32 (n, out)."""
        for place, layer in enumerate(self.layers):
            rows = layer(np.maximum(rows, 0) if place else rows)
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class VectorMap:
    """Map from unit vectors to unit vectors.

    Attributes:
        branches: at least one.
    """

    branches: tuple[Branch, ...]

    @property
    def is_linear(self) -> bool:
        """Whether cosines are those of one affine map, so that sentences can go through it."""
        return len(self.branches) == 1 and len(self.branches[0].layers) <= 1

    def dimension(self, base: int) -> int:
        """Length of its vectors.

        Args:
            base: length of the vectors that come in.
        """
        return sum(len(b.layers[-1].bias) if b.layers else base for b in self.branches)

    def __call__(self, vectors: Vectors) -> Vectors:
        """Map unit rows.

        A vector that a map turns into zero, which has no direction, becomes the first axis: it is
        like no other for want of anything better.

        Args:
            vectors: float32 (n, d).

        Returns:
            float32 (n, dimension), unit rows.
        """
        width = self.dimension(vectors.shape[1])
        found = np.empty((len(vectors), width), np.float32)
        for start in range(0, len(vectors), _BLOCK):
            block = slice(start, start + _BLOCK)
            parts = [branch(vectors[block]) for branch in self.branches]
            if len(parts) > 1:
                lengths = [branch.length for branch in self.branches]
                parts = [
                    _unit(part) * np.float32(one) for part, one in zip(parts, lengths, strict=True)
                ]
            found[block] = _unit(np.concatenate(parts, axis=1))
        return found

    def tensors(self) -> dict[str, Vectors]:
        """The arrays of the map by name, as a safetensors file keeps them."""
        found: dict[str, Vectors] = {}
        for number, branch in enumerate(self.branches):
            found[f"{number}.length"] = np.asarray([branch.length], np.float32)
            for depth, layer in enumerate(branch.layers):
                found[f"{number}.{depth}.weight"] = np.ascontiguousarray(layer.weight, np.float32)
                found[f"{number}.{depth}.bias"] = np.ascontiguousarray(layer.bias, np.float32)
        return found

    @classmethod
    def of(cls, tensors: dict[str, npt.NDArray[np.float32]], base: int) -> VectorMap:
        """The map of a file's arrays.

        Args:
            tensors: as ``tensors`` gives them.
            base: length of the vectors that come in.

        Raises:
            ValueError: arrays that make no map of such vectors; one sentence.
        """
        branches: list[Branch] = []
        left = dict(tensors)
        while (length := left.pop(f"{len(branches)}.length", None)) is not None:
            number, width = len(branches), base
            layers: list[Layer] = []
            while (weight := left.pop(f"{number}.{len(layers)}.weight", None)) is not None:
                bias = left.pop(f"{number}.{len(layers)}.bias", None)
                fits = bias is not None and weight.ndim == 2 and weight.shape[1] == width
                if bias is None or not fits or bias.shape != (len(weight),):
                    raise ValueError(
                        f"layer {len(layers)} of branch {number} does not fit vectors of {width}"
                    )
                if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                    raise ValueError(f"layer {len(layers)} of branch {number} is not finite")
                layers.append(Layer(weight, bias))
                width = len(weight)
            if length.shape != (1,) or not length[0] > 0:
                raise ValueError(f"the length of branch {number} is no positive number")
            branches.append(Branch(tuple(layers), float(length[0])))
        if not branches or left:
            raise ValueError(f"no branch uses {sorted(left)}" if left else "it has no branches")
        return cls(tuple(branches))


def _unit(rows: Vectors) -> Vectors:
    """Rows of length 1; see VectorMap.__call__ for those of length 0."""
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    lost = squares < _SMALLEST
    found = (rows / np.sqrt(np.where(lost, 1, squares))[:, None]).astype(np.float32)
    if lost.any():
        found[lost] = 0
        found[lost, 0] = 1
    return found
