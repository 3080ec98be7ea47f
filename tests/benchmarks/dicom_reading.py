"""DICOM films to 8 bits, beside an older checkout: ``python -m tests.benchmarks.dicom_reading``.

Films of 2,048 x 2,500 pixels with 12 bits, not compressed. Both checkouts read the same files in
turns, each in a process of its own; CPU time of the fastest call of each. Where the older one is
not given, a worktree of the commit before the reading changed is made for as long as this runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.timing import heading, judge, verdicts
from tests.ingest.films import chest, film
from tests.ingest.kinds import SYNTAXES, Table, saved

ROOT = Path(__file__).parents[2]
BEFORE = "54dbb93"
_TURNS = 3
_TWELVE = {"BitsStored": 12, "HighBit": 11}
#: Runs in a checkout: milliseconds of CPU and a digest of the pixels, by file.
_TIMED = """
import hashlib, json, sys, time
from pathlib import Path
from ingest import dicom
told = {}
for place in sys.argv[1:]:
    data = Path(place).read_bytes()
    pixels, took = dicom.decode(data, place), []
    for _ in range(9):
        begin = time.process_time()
        dicom.decode(data, place)
        took.append(1000 * (time.process_time() - begin))
    told[Path(place).name] = [min(took), hashlib.sha256(pixels.tobytes()).hexdigest()]
print(json.dumps(told))
"""
#: Two threads that read films: the most memory there was, in MiB.
_MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ingest import dicom
def read(place):
    return dicom.decode(Path(place).read_bytes(), place).shape
with ThreadPoolExecutor(2) as pool:
    list(pool.map(read, sys.argv[1:] * 4))
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def large(height: int, width: int, seed: int = 0) -> Any:
    """A film of 12 bits with noise, (height, width) uint16."""
    rows = np.linspace(0, 63, height).astype(int)
    columns = np.linspace(0, 63, width).astype(int)
    smooth = chest(seed, 64)[np.ix_(rows, columns)].astype(np.float32) * 12
    noise = np.random.default_rng(seed).normal(0, 25, (height, width)).astype(np.float32)
    return np.clip(smooth + noise, 0, 4095).astype(np.uint16)


def kinds() -> dict[str, bytes]:
    """Files by name; those that the older checkout reads alike, and one without a window."""
    values = large(2500, 2048)
    window = {"WindowCenter": 1500, "WindowWidth": 2500}
    entries = np.rint(np.linspace(0, 1, 4096) ** 0.6 * 4095).astype("<u2")
    table = {"VOILUTSequence": Table(0, 12, entries.tobytes())}
    inverse = {**_TWELVE, **window, "PhotometricInterpretation": "MONOCHROME1"}
    return {
        "window": film(values, **_TWELVE, **window),
        "window, MONOCHROME1": film(values, **inverse),
        "look-up table": saved(values, _TWELVE, table, SYNTAXES["explicit"]),
        "no window": film(values, **_TWELVE),
    }


@contextmanager
def older(checkout: Path | None) -> Iterator[Path]:
    """The older checkout; one that is made here is removed again."""
    if checkout is not None:
        yield checkout
        return
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "before")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", place, BEFORE], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run([*git, "remove", "--force", place], check=True)


def run(code: str, checkout: Path, files: list[Path]) -> Any:
    """What a script prints that runs in a checkout, as JSON."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, files)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def reading(checkout: Path | None = None) -> None:
    """Print and judge both."""
    heading("DICOM films of 2,048 x 2,500 to 8 bits, one core, beside an older checkout")
    with tempfile.TemporaryDirectory() as folder, older(checkout) as before:
        files = [Path(folder) / name for name in kinds()]
        for path, data in zip(files, kinds().values(), strict=True):
            path.write_bytes(data)
        took: dict[str, dict[str, float]] = {"now": {}, "before": {}}
        pixels: dict[str, dict[str, str]] = {"now": {}, "before": {}}
        for _ in range(_TURNS):
            for side, place in (("now", ROOT), ("before", before)):
                for name, (milliseconds, digest) in run(_TIMED, place, files).items():
                    took[side][name] = min(milliseconds, took[side].get(name, milliseconds))
                    pixels[side][name] = digest
        for path in files:
            name = path.name
            now, then = took["now"][name], took["before"][name]
            same = "bit-equal" if pixels["now"][name] == pixels["before"][name] else "otherwise"
            judge(f"{name} ({same})", now / then, 0.35, "x before (CPU)", took=now / 1000)
        for number in range(2):
            (Path(folder) / f"large {number}").write_bytes(
                film(large(4400, 4500, number), **_TWELVE, WindowCenter=1500, WindowWidth=2500)
            )
        two = [Path(folder) / f"large {number}" for number in range(2)]
        peaks = {side: run(_MEMORY, at, two) for side, at in (("now", ROOT), ("before", before))}
        print(f"  peak memory: {peaks['now']:.0f} MiB, {peaks['before']:.0f} MiB before")
        ratio = peaks["now"] / peaks["before"]
        judge("20-megapixel films, two workers: peak memory", ratio, 1.0, "x before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="an older checkout; made when not given")
    reading(parser.parse_args().before)
    verdicts()


if __name__ == "__main__":
    main()
