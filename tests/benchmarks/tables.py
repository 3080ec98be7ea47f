"""Folders with tables, beside an earlier build: many files, and many columns.

``python -m tests.benchmarks.tables --peer FOLDER``; FOLDER is a checkout of that build. What is
timed is everything before a file is opened: the table, the matching of its rows, and what is said
of each file; ``--ingest`` takes the whole job with the bundled encoder instead. Builds take turns,
each in a process of its own. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.timing import heading, judge, verdicts
from tests.ingest.films import png

#: Times of the peer's.
MOST_FILES, MOST_COLUMNS = 1.1, 0.1
#: Peak of a process that reads 40,000 rows of 174 columns, MiB.
MOST_MIB = 1000

_READ = """
import json, sys, time
from collections import deque
from ingest import open_source
root, labels, store, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
begin = time.perf_counter()
if store:
    from ingest import ingest
    from ingest.encoders import load_encoder
    from store import Gallery
    encoder = load_encoder()
    gallery = Gallery.create(store, encoder.stamp)
    begin = time.perf_counter()
    report = ingest(open_source("folder", root, labels=labels, **options), gallery, encoder)
    told, refused = report.inserted, len(report.rejected)
else:
    source = open_source("folder", root, labels=labels, **options)
    items = list(source.records)
    told = sum(hasattr(one, "metadata") for one in items)
    refused = len(items) - told
seconds = time.perf_counter() - begin
peak = next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "told": told, "refused": refused, "mib": peak}))
"""


def films(root: Path, count: int) -> list[str]:
    """Hard links to one small film, a thousand in each folder."""
    names = [f"{number // 1000:03d}/film{number:06d}.png" for number in range(count)]
    first = root / "first.png"
    root.mkdir(parents=True)
    first.write_bytes(png(0, 64))
    for name in names:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(first)
    first.unlink()
    return names


def turn(build: Path, root: Path, labels: Path, store: str, options: dict[str, object]) -> dict:  # type: ignore[type-arg]
    """One process of a build."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(root), str(labels), store, json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(build)},
        cwd=build,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(
    work: str,
    peer: Path,
    bar: float,
    root: Path,
    labels: Path,
    options: dict[str, object],
    *,
    turns: int = 3,
    whole: bool = False,
) -> float:
    """Medians of turns of both builds, judged; the peak of this one, MiB."""
    mine = Path(__file__).resolve().parents[2]
    found: dict[Path, list[dict[str, float]]] = {mine: [], peer: []}
    for number in range(turns):
        for build, so_far in found.items():
            with tempfile.TemporaryDirectory() as place:
                store = f"{place}/store" if whole else ""
                so_far.append(turn(build, root, labels, store, options))
                print(f"  {number} {build}: {so_far[-1]}", flush=True)
    assert len({(one["told"], one["refused"]) for one in (*found[mine], *found[peer])}) == 1
    took, other = (
        statistics.median(one["seconds"] for one in found[build]) for build in (mine, peer)
    )
    judge(work, took / other, bar, f"x the peer's {other:.2f} s", took)
    return max(one["mib"] for one in found[mine])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of the earlier build")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=174)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ingest", action="store_true", help="time whole jobs of the many files")
    asked = parser.parse_args()
    peer = asked.peer.resolve()
    with tempfile.TemporaryDirectory() as folder:
        heading(f"{asked.files:,} files with a CSV")
        root = Path(folder, "films")
        names = films(root, asked.files)
        labels = Path(folder, "t.csv")
        rows = (
            f"{name},{'pneumonia' if n % 3 else 'normal'},{n % 90}" for n, name in enumerate(names)
        )
        labels.write_text("\n".join(["file,label,age", *rows]) + "\n")
        compare(
            "files with a CSV", peer, MOST_FILES, root, labels, {"columns": ["age"]},
            turns=asked.turns, whole=asked.ingest,
        )  # fmt: skip
        heading(f"{asked.columns} columns x {asked.rows:,} rows")
        few, wide = Path(folder, "few"), Path(folder, "wide.csv")
        names = films(few, 200)
        headings = ["file", *(f"finding {number}" for number in range(asked.columns))]
        with wide.open("w") as file:
            print(*headings, sep=",", file=file)
            for n in range(asked.rows):
                name = names[n] if n < len(names) else f"elsewhere/film{n}.png"
                cells = ("1" if (n + at) % 17 == 0 else "0" for at in range(asked.columns))
                print(name, *cells, sep=",", file=file)
        peak = compare("columns", peer, MOST_COLUMNS, few, wide, {}, turns=1)
        judge("its peak", peak, MOST_MIB, "MiB")
    verdicts()


if __name__ == "__main__":
    main()
