"""Readers of films that share no code with ours: dcmtk, highdicom, SimpleITK."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DCM2PNM = shutil.which("dcm2pnm")
Picture = npt.NDArray[np.float64]


def by_dcmtk(data: bytes, *options: str) -> Picture:
    """What dcm2pnm shows, 16 bits deep; RuntimeError with its words where it refuses."""
    assert DCM2PNM is not None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.dcm"), Path(folder, "a.pgm")
        source.write_bytes(data)
        done = subprocess.run(
            [DCM2PNM, *options, "+opw", str(source), str(target)], capture_output=True, text=True
        )
        if done.returncode or not target.exists():
            raise RuntimeError(done.stderr)
        words = [line for line in target.read_text().splitlines() if not line.startswith("#")]
    kind, size, *rest = words
    assert kind == "P2"
    columns, rows = map(int, size.split())
    numbers = np.array(" ".join(rest[1:]).split(), np.float64)
    return numbers.reshape(rows, columns)


def by_highdicom(data: bytes, *, voi: bool) -> Picture:
    """What highdicom shows: modality, VOI and presentation LUT."""
    import highdicom

    image = highdicom.imread(io.BytesIO(data))
    frame = image.get_frame(
        1,
        apply_voi_transform=voi,
        apply_modality_transform=None,
        apply_presentation_lut=True,
        apply_palette_color_lut=False,
        apply_icc_profile=False,
    )
    return np.asarray(frame, np.float64)


def by_simpleitk(data: bytes) -> Picture:
    """Values after the rescale, MONOCHROME1 inverted; SimpleITK knows no window and no LUT."""
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.dcm")
        path.write_bytes(data)
        found: Any = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return np.asarray(found, np.float64).squeeze()


def correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Pearson's, of two pictures."""
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])
