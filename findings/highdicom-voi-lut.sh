#!/usr/bin/env bash
# highdicom 0.28.2 shows two kinds of valid film by the wrong entries of their VOI LUT, silently:
# on signed 16-bit cells the first input mapped is taken off in 16 bits, which wraps; after a negative
# RescaleSlope the table is read from its wrong end. PS3.3, C.11.2.1.1: entry i is of input
# "first + i", and the input is what the rescale gives. dcmtk's dcm2pnm shows both right.
# Seen with Python 3.11, numpy 2.4. Fails when this changes. Needs a package registry, nothing of ours.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    highdicom==0.28.2 pydicom==3.0.2
"$place/venv/bin/python" -W ignore - <<'PY'
import io

import highdicom
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def shown(cells, first, entries, slope, intercept):
    """The film as highdicom shows it, and as the table says, both 0..1."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    film = FileDataset("film", {}, file_meta=meta, preamble=bytes(128))
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    film.StudyInstanceUID = film.SeriesInstanceUID = film.FrameOfReferenceUID = generate_uid()
    film.Modality, film.PatientID, film.PatientName = "CR", "1", ""
    film.Rows, film.Columns = cells.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated = film.BitsStored = 16
    film.HighBit, film.PixelRepresentation = 15, int(cells.dtype.kind == "i")
    film.RescaleSlope, film.RescaleIntercept, film.RescaleType = slope, intercept, "US"
    table = Dataset()
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, 16])
    table.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    film.VOILUTSequence = Sequence([table])
    film.PixelData = cells.tobytes()
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    file.seek(0)
    frame = highdicom.imread(file).get_frame(
        1, apply_voi_transform=True, apply_icc_profile=False, apply_palette_color_lut=False
    )
    place = np.clip(cells.astype(int) * slope + intercept - first, 0, len(entries) - 1)
    return frame.ravel(), entries[place].ravel() / 65535


ramp = np.linspace(-19000, 19000, 64).reshape(8, 8)
entries = np.round(np.linspace(0, 1, 40000) ** 2 * 65535)
found = {}
found["signed 16 bits"] = shown(ramp.astype("<i2"), -20000, entries, 1, 0)
found["unsigned 16 bits"] = shown((ramp + 20000).astype("<u2"), 0, entries, 1, 0)
small = np.arange(0, 4096, 64).reshape(8, 8).astype("<u2")
quarter = np.round(np.linspace(0, 1, 4096) ** 2 * 65535)
found["slope -1"] = shown(small, 0, quarter, -1, 4095)
found["slope 1"] = shown(small, 0, quarter, 1, 0)
agrees = {}
for kind, (is_, should) in found.items():
    agrees[kind] = bool(np.abs(is_ - should).max() < 0.01)
    print(f"{kind:17} first {is_[0]:.3f} last {is_[-1]:.3f}, by the table {should[0]:.3f} {should[-1]:.3f}")
assert agrees == {
    "signed 16 bits": False, "unsigned 16 bits": True, "slope -1": False, "slope 1": True
}, agrees
print("highdicom 0.28.2 shows films with a VOI LUT wrong: signed 16-bit cells, negative slopes")
PY
