"""Clocks, lines and verdicts. What is compared takes turns, so that noise hits all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from store import EncoderStamp, Gallery, Vectors
from tests.store.rows import make_rows, random_vectors, unit

Timed = Callable[[], object]
#: From how many, a seed and a dimension to unit vectors.
Made = Callable[[int, int, int], Vectors]
_FILLED_AT_ONCE = 50_000


class Judged(NamedTuple):
    work: str
    found: str
    bar: str
    met: bool


#: Everything that has a bar, in the order measured.
JUDGED: list[Judged] = []


def seconds(function: Timed) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def cpu_seconds(function: Timed) -> float:
    """Of all threads of this process: the same whatever else the machine does."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def best_of(function: Timed, repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    return in_turns({"it": function}, repeats)["it"]


def in_turns(functions: Mapping[str, Timed], repeats: int = 15, run: int = 1) -> dict[str, float]:
    """Seconds of the fastest call of each, called in turns after one to warm up.

    Args:
        functions: by name.
        repeats: turns of each.
        run: calls in a row in a turn. BLAS's threads go on spinning for some 50 ms after a
            product; only a later call is free of what was called before it.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name] += [seconds(function) for _ in range(run)]
    return {name: min(found) for name, found in times.items()}


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def line(work: str, took: float, peer: str = "", peer_took: float = 0.0, bar: str = "") -> None:
    """Time, its ratio to a peer's, and a remark; nothing is judged."""
    ratio = f"{took / peer_took:8.2f} x {peer}" if peer_took else ""
    print(f"  {work:<52} {1000 * took:11.2f} ms {ratio:<34} {bar}", flush=True)


def judge(
    work: str, found: float, bar: float, unit: str, took: float | None = None, least: bool = False
) -> None:
    """A figure beside its bar: at most that, or at least; kept for the table at the end."""
    met = found >= bar if least else found <= bar
    sign = ">=" if least else "<="
    time_ = "" if took is None else f"{1000 * took:.2f} ms"
    says = "ok" if met else "MISSED"
    print(f"  {work:<52} {time_:>14} {found:8.2f} {unit:<24} {sign} {bar:g}  {says}", flush=True)
    JUDGED.append(Judged(work, f"{found:.2f} {unit}", f"{sign} {bar:g}", met))


def verdicts() -> None:
    """The table of everything that has a bar."""
    if not JUDGED:
        return
    heading(f"Bars: {sum(one.met for one in JUDGED)} of {len(JUDGED)} met")
    for one in JUDGED:
        says = "ok" if one.met else "MISSED"
        print(f"  {one.work:<52} {one.found:<34} {one.bar:<10} {says}")


def rows_of(
    count: int, dimension: int, seed: int, prefix: str = "", make: Made = random_vectors
) -> list[Any]:
    """Rows without pictures; every tenth is labelled ``rare``."""
    labels = [("rare",) if i % 10 == 0 else ("common",) for i in range(count)]
    vectors = make(count, seed, dimension)
    return make_rows(vectors, labels, prefix or f"bench/{seed}/", thumbnail=None)


def low_rank(count: int, seed: int, dimension: int, rank: int = 64) -> Vectors:
    """Unit vectors as encoders give: directions of falling weight, and a little noise."""
    mixed, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(dimension, dimension)))
    basis = mixed[: min(rank, dimension)] * np.geomspace(1, 0.05, min(rank, dimension))[:, None]
    random = np.random.default_rng(seed)
    found = np.empty((count, dimension), np.float32)
    for start in range(0, count, _FILLED_AT_ONCE):
        size = min(_FILLED_AT_ONCE, count - start)
        spread = random.normal(size=(size, len(basis))) @ basis
        found[start : start + size] = unit(spread + 0.01 * random.normal(size=spread.shape))
    return found


def filled(
    folder: Path | str, rows: int, dimension: int, start: int = 0, make: Made = random_vectors
) -> Gallery:
    """A gallery of unit vectors, the same for the same arguments; it may hold some."""
    gallery = Gallery.create(folder, EncoderStamp("bench", "0" * 64, dimension))
    for first in range(start, rows, _FILLED_AT_ONCE):
        gallery.upsert(rows_of(min(_FILLED_AT_ONCE, rows - first), dimension, first, "", make))
    return gallery


def memory_mib(peak: bool = False) -> float:
    """Resident memory of this process, or the most there was, in MiB (Linux)."""
    key = "VmHWM:" if peak else "VmRSS:"
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(key)[1].split()[0]) / 1024
