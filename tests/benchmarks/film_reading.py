"""Reading full-size films, against another checkout of this project in the same run.

``python -m tests.benchmarks.film_reading --against CHECKOUT``. Each side runs in processes of its
own, in turns; what is compared is processor time a film, wall time of a whole ingestion, and peak
memory. Values are checked to be the same where they should be.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.timing import heading, judge, line, verdicts
from tests.ingest.films import film

#: Width and height of a film.
SIZE = (2048, 2500)
_STEPS = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
step, folder, store = sys.argv[1:4]
folder = Path(folder)

def least(work, times=7):
    found = []
    for _ in range(times):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)

if step == "decode":
    import torch
    from ingest import read_image
    told = {}
    for path in sorted((folder / "kinds").iterdir()):
        data = path.read_bytes()
        pixels = read_image(data)
        told[path.name] = [least(lambda: read_image(data)), hashlib.sha256(pixels).hexdigest()]
elif step == "encode":
    import torch
    torch.set_num_threads(1)
    from ingest import read_image
    from ingest.encoders import load_encoder
    encoder = load_encoder()
    pixels = read_image(folder / "kinds" / "8-bit.png")
    small = np.ascontiguousarray(pixels[::8, ::8])
    tiny = np.ascontiguousarray(pixels[:28 * 70:70, :28 * 70:70])
    encoder.encode_images([tiny])
    model = least(lambda: encoder.encode_images([tiny]), 15)
    told = {"whole": least(lambda: encoder.encode_images([pixels]), 15), "model": model}
    told["vector"] = encoder.encode_images([pixels])[0].tolist()
elif step == "ingest":
    from ingest import ingest, open_source
    from ingest.encoders import load_encoder
    from store import Gallery
    encoder = load_encoder()
    encoder.encode_images([np.arange(784, dtype=np.uint8).reshape(28, 28)])
    gallery = Gallery.create(store, encoder.stamp)
    begin, used = time.perf_counter(), time.process_time()
    report = ingest(open_source("folder", folder / sys.argv[4]), gallery, encoder, workers=2)
    told = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - used}
    assert report.inserted and not report.rejected, report
    status = Path("/proc/self/status").read_text()
    told["peak"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps(told))
"""


def film_reading(against: Path, films: int = 300, large: int = 12, rounds: int = 3) -> None:
    """Print the ratios.

    Args:
        against: another checkout, e.g. of the version before.
        films: how many DICOM films are ingested.
        large: how many of 20 megapixels, for the memory.
        rounds: of each ingestion.
    """
    heading(f"Reading films of {SIZE[0]} x {SIZE[1]}, against {against}")
    here = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _make(root, films, large)
        _decoding(root, here, against)
        _encoding(root, here, against)
        wall: dict[str, list[dict[str, float]]] = {"films": [], "large": []}
        old: dict[str, list[dict[str, float]]] = {"films": [], "large": []}
        for number in range(rounds):
            for kind in wall:
                for found, checkout, side in ((old, against, "old"), (wall, here, "new")):
                    store = root / f"{side}-{kind}-{number}"
                    found[kind].append(_run(checkout, "ingest", root, store, kind))

        def middle(found: dict[str, list[dict[str, float]]], kind: str, what: str) -> float:
            return statistics.median(one[what] for one in found[kind])

        took, before = middle(wall, "films", "wall"), middle(old, "films", "wall")
        judge(f"ingest {films} DICOM films, wall", took / before, 0.6, "x", took)
        took, before = middle(wall, "films", "cpu"), middle(old, "films", "cpu")
        line("  the same, processor time", took, "that one", before)
        peak, before = middle(wall, "large", "peak"), middle(old, "large", "peak")
        print(f"  peak memory: {peak:,.0f} MiB, there {before:,.0f} MiB")
        judge(f"peak memory, {large} films of 20 megapixels", peak / before, 1.0, "x")


def _decoding(root: Path, here: Path, against: Path) -> None:
    told: dict[Path, dict[str, list[Any]]] = {}
    for checkout in (against, here, against, here):
        for name, (took, digest) in _run(checkout, "decode", root).items():
            best = told.setdefault(checkout, {}).setdefault(name, [took, digest])
            best[0] = min(best[0], took)
    for name, (took, digest) in told[here].items():
        before, digest_before = told[against][name]
        same = "the same pixels" if digest == digest_before else "other pixels"
        if name.startswith("16-bit"):
            judge(f"decode {name} ({same})", took / before, 0.8, "x", took)
        else:
            line(f"decode {name} ({same})", took, "that one", before)


def _encoding(root: Path, here: Path, against: Path) -> None:
    told: dict[Path, dict[str, Any]] = {}
    for checkout in (against, here, against, here):
        found = _run(checkout, "encode", root)
        before = told.setdefault(checkout, found)
        for what in ("whole", "model"):
            before[what] = min(before[what], found[what])
    new, old = told[here], told[against]
    line("encode one film", new["whole"], "that one", old["whole"])
    took, before = (one["whole"] - one["model"] for one in (new, old))
    judge("  of this resizing: without what 28 x 28 take", took / before, 0.5, "x", took)
    print(f"  cosine of the two vectors: {np.dot(new['vector'], old['vector']):.5f}")


def _run(checkout: Path, step: str, root: Path, store: Path | str = "", kind: str = "") -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _STEPS, step, str(root), str(store), kind],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {step}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _film(number: int, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """A smooth film of 12 bits with a detector's noise."""
    rng = np.random.default_rng(number)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 10), dtype=np.uint8))
    tones = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC), np.float32) * 14
    noise = rng.normal(0, 3, (height, width)).astype(np.float32)
    return np.clip(tones + noise + 100, 0, 4095).astype(np.uint16)


def _png(values: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def _make(root: Path, films: int, large: int) -> None:
    """Files of each kind, DICOM films to ingest, and large ones; a few distinct ones, repeated."""
    kinds, many, huge = root / "kinds", root / "films", root / "large"
    for folder in (kinds, many, huge):
        folder.mkdir()
    deep = _film(0, *SIZE)
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 3600}
    (kinds / "16-bit.png").write_bytes(_png(deep))
    (kinds / "16-bit of much noise.png").write_bytes(_png(deep + np.uint16(deep % 7 * 9)))
    (kinds / "8-bit.png").write_bytes(_png((deep >> 4).astype(np.uint8)))
    (kinds / "window.dcm").write_bytes(film(deep, **tags))
    (kinds / "no window.dcm").write_bytes(film(deep, BitsStored=12, HighBit=11))
    distinct = [_film(number, *SIZE) for number in range(8)]
    for number in range(films):
        values = distinct[number % len(distinct)]
        values[0, :4] = number % 4096  # no two files have the same bytes
        data = film(values, SOPInstanceUID=f"1.2.{number}", **tags)
        (many / f"{number:04d}.dcm").write_bytes(data)
    for number in range(large):
        values = _film(number, 4000, 5000)
        (huge / f"{number}.png").write_bytes(_png((values >> 4).astype(np.uint8)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--large", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    film_reading(arguments.against.resolve(), arguments.films, arguments.large, arguments.rounds)
    verdicts()


if __name__ == "__main__":
    main()
