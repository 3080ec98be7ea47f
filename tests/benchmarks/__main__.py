"""Timings, printed as ratios against a peer measured in the same run: ``make bench``.

Nothing here asserts on a clock. Figures on a shared machine vary by a third; ratios vary less.
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

from tests.benchmarks import growth, keeping, searching, words
from tests.benchmarks.encoding import encoding as encode
from tests.benchmarks.ingestion import ingestion, slow_encoder
from tests.benchmarks.readers import ingest_batches, readers
from tests.benchmarks.timing import filled, heading, line, verdicts


def chain(npz_folder: Path | None) -> None:
    """What ``cxr demo`` does, step by step, as a user would type it."""
    heading("The whole chain on PneumoniaMNIST")
    if npz_folder is None:
        print("  set MEDMNIST_ROOT to time it")
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CXR_STORE": f"{folder}/store"}
        environment["MEDMNIST_ROOT"] = str(npz_folder)
        total = 0.0
        steps = {
            "cxr ingest medmnist:pneumoniamnist": ["ingest", "medmnist:pneumoniamnist", "--json"],
            "cxr evaluate": ["evaluate", "--json"],
            "cxr export": ["export", f"{folder}/out", "--json"],
            "cxr ingest again": ["ingest", "medmnist:pneumoniamnist", "--json"],
            "cxr --help": ["--help"],
        }
        for name, arguments in steps.items():
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "ui.cli", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.perf_counter() - begin
            if done.returncode:
                print(f"{name}: {done.stderr}")
                return
            if "again" not in name and "help" not in name:
                total += seconds
            line(name, seconds)
            if name == "cxr ingest again":
                report = json.loads(done.stdout)
                print("  " + ", ".join(f"{report[key]} {key}" for key in ("inserted", "encoded")))
        line("ingest + evaluate + export", total)


SECTIONS = (
    "search",
    "words",
    "following",
    "growth",
    "opening",
    "small",
    "readers",
    "loo",
    "encoding",
    "ingestion",
    "chain",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of opening and growth")
    parser.add_argument(
        "--quick", action="store_true", help="without hnswlib and Chroma, which take minutes"
    )
    parser.add_argument("--medmnist", type=Path, default=os.environ.get("MEDMNIST_ROOT") or None)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, argument = given.child
        children = {**keeping.CHILDREN, "grown": growth.grown, "ingest_batches": ingest_batches}
        print(json.dumps(children[what](argument)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        large = f"{folder}/large"

        def opening() -> None:
            if not Path(large).exists():
                filled(large, given.most, 128)
            keeping.opening(large)

        runs = {
            "search": lambda: searching.run(
                given.rows, given.dimension, given.most, given.quick, given.medmnist
            ),
            "words": lambda: words.run(given.rows),
            "following": lambda: keeping.following(given.rows, given.dimension),
            "growth": lambda: growth.run(large, given.most),
            "opening": opening,
            "small": keeping.small_batches,
            "readers": readers,
            "loo": lambda: keeping.leave_one_out(given.rows),
            "encoding": encode,
            "ingestion": lambda: (ingestion(), slow_encoder()),
            "chain": lambda: chain(given.medmnist),
        }
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"{os.cpu_count()} cores, load {load}; the best of several runs, in turns with peers")
        for name in SECTIONS:
            if name in (given.sections or SECTIONS):
                begin = time.perf_counter()
                runs[name]()
                print(f"  ({name}: {time.perf_counter() - begin:.0f} s)", flush=True)
    verdicts()


if __name__ == "__main__":
    main()
