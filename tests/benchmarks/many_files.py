"""Very many files end to end with the bundled encoder: flat memory, and a quick re-check.

``python -m tests.benchmarks.many_files --count 100000`` makes that many small PNG films in a
scratch folder (hard links to a few, so that they cost no disk), ingests them, and goes over them
again, each in a process of its own. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.ingest.films import png

#: Peak of the process, MiB.
MOST_MIB = 1500
#: How much more memory may be in use at the end than after a fifth, MiB.
MOST_GROWTH_MIB = 150
#: Seconds to go over 100,000 unchanged files.
MOST_SECONDS = 60.0
_DISTINCT = 50
_BIRTH = 1_600_000_000  # files this old need no second look


def make(root: Path, count: int, side: int) -> None:
    """A folder of PNG films, a thousand in each folder below it."""
    first: list[Path] = []
    for number in range(count):
        path = root / f"{number // 1000:04d}" / f"{number:07d}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if number < _DISTINCT:
            path.write_bytes(png(number, side))
            os.utime(path, (_BIRTH, _BIRTH))
            first.append(path)
        else:
            path.hardlink_to(first[number % _DISTINCT])


def memory(key: str) -> float:
    """VmHWM or VmRSS of this process, MiB; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(key)), 0.0)


def run(root: str, store: str) -> None:
    """In a process of its own: ingest, and print what it took."""
    from ingest import Progress, ingest, open_source
    from ingest.encoders import load_encoder
    from store import Gallery

    encoder = load_encoder()
    gallery = Gallery.create(store, encoder.stamp)
    in_use: list[float] = []

    def watch(now: Progress) -> None:
        if now.done * 10 >= now.total * (len(in_use) + 1):
            in_use.append(round(memory("VmRSS")))

    begin, spent = time.perf_counter(), time.process_time()
    report = ingest(open_source("folder", root), gallery, encoder, progress=watch)
    print(
        json.dumps(
            {
                "inserted": report.inserted,
                "unchanged": report.unchanged,
                "hashed": report.hashed,
                "seconds": round(time.perf_counter() - begin, 1),
                "cpu_seconds": round(time.process_time() - spent, 1),
                "peak_mib": round(memory("VmHWM")),
                "in_use_mib": in_use,
            }
        )
    )


def _child(root: Path, store: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.many_files", "--run", str(root), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(count: int, side: int, folder: str) -> bool:
    """Make, ingest, go over it again; print figures and whether the bars are held."""
    root, store = Path(folder) / "films", Path(folder) / "store"
    begin = time.perf_counter()
    make(root, count, side)
    print(
        f"{count:,} PNG of {side} x {side} made in {time.perf_counter() - begin:.1f} s", flush=True
    )
    time.sleep(2.5)  # a link made changes the file's times; files this young are read again
    first = _child(root, store)
    pace = count / first["seconds"]
    print(
        f"ingested {first['inserted']:,} in {first['seconds']:,} s ({pace:,.0f} images/s, "
        f"{first['cpu_seconds']:,} s of CPU); peak {first['peak_mib']:,} MiB (bar {MOST_MIB:,}); "
        f"in use at each tenth: {first['in_use_mib']}",
        flush=True,
    )
    growth = first["in_use_mib"][-1] - first["in_use_mib"][1] if first["in_use_mib"] else np.nan
    again = _child(root, store)
    bar = max(MOST_SECONDS * count / 100_000, 10)  # starting up takes its time
    print(
        f"again: {again['unchanged']:,} unchanged, {again['hashed']:,} read, "
        f"{again['seconds']:,} s (bar {bar:.0f}), peak {again['peak_mib']:,} MiB; "
        f"grown by {growth:,.0f} MiB from a fifth to the end (bar {MOST_GROWTH_MIB})"
    )
    return bool(
        first["inserted"] == again["unchanged"] == count
        and max(first["peak_mib"], again["peak_mib"]) < MOST_MIB
        and growth < MOST_GROWTH_MIB
        and again["seconds"] < bar
        and again["hashed"] == 0
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--folder", help="Where to work. Default: a temporary one, removed after.")
    parser.add_argument("--run", nargs=2, metavar=("ROOT", "STORE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(*asked.run)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        held = measure(asked.count, asked.side, folder)
    print("ok" if held else "MISSED")
    sys.exit(not held)


if __name__ == "__main__":
    main()
