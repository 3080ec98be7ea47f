"""Many visitors click while batches come in: no error, no mixed versions, memory flat.

    python -m tests.ui.crowd                          20 visitors, 120 s, 10 batches
    python -m tests.ui.crowd --visitors 4 --seconds 10 --batches 3

Visitors speak the dashboard's own protocol (tests/ui/visitor.py). Every page that shows hits is
compared afterwards with a brute-force search over exactly the films that its table version had.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np

from store import Gallery
from tests.ui import browser, films
from tests.ui.visitor import Visitor

FIRST, PER_BATCH, K = 60, 20, 10
_SENTENCES = ("clear lungs", "pneumonia opacity in lungs", "normal chest radiograph", "effusion")
_HIT = re.compile(r'class="score num"[^>]*>(-?[\d.]+)<.*?class="soft mono id" title="(.*?)"', re.S)
_STATUS = re.compile(r"([\d,]+) films</span>.*?table version (\d+)<", re.S)
_SEARCHED = re.compile(r"\bof ([\d,]+) films? ·")


@dataclass(frozen=True, slots=True)
class Page:
    """What one drawn page said."""

    asked: str
    version: int
    films: int
    searched: int
    hits: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Outcome:
    """What a crowd found."""

    pages: list[Page] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def growth_mb(self) -> float:
        """Median resident memory of the last quarter over that of the second."""
        quarter = max(len(self.memory_mb) // 4, 1)
        return statistics.median(self.memory_mb[-quarter:]) - statistics.median(
            self.memory_mb[quarter : 2 * quarter]
        )


def crowd(root: Path, visitors: int, seconds: float, batches: int) -> Outcome:
    """Let visitors click and batches come in, then compare what was shown with the truth."""
    encoder = films.tiny_clip(root / "tiny-clip")
    store = root / "gallery"
    ids = [film.id for film in films.films()]
    films.add(store, encoder, films.films())
    outcome = Outcome()
    with browser.serving(store, encoder, root / "home") as served:
        first = Visitor(served.url, "text=clear+lungs")  # everything is loaded after this
        first.close()
        over = threading.Event()
        threads = [
            threading.Thread(target=_click, args=(served.url, over, ids, seed, outcome))
            for seed in range(visitors)
        ]
        writer = threading.Thread(target=_write, args=(store, encoder, batches, seconds, outcome))
        for thread in [*threads, writer]:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            outcome.memory_mb.append(_resident(served.pid))
            time.sleep(0.5)
            if writer.is_alive():  # a busy machine: the last batch is to be seen too
                end = max(end, time.monotonic() + 3)
        over.set()
        for thread in [*threads, writer]:
            thread.join()
    _compare(store, outcome)
    return outcome


def _click(url: str, over: threading.Event, ids: list[str], seed: int, outcome: Outcome) -> None:
    chance = random.Random(seed)
    try:
        window = Visitor(url, f"id={chance.choice(ids)}", timeout=90)
        while not over.is_set():
            _note(window, outcome)
            window.idle(chance.uniform(0.2, 2.5))
            _note(window, outcome)
            what = chance.random()
            if what < 0.5 and any(b.label == "More like this" for b in window.elements("button")):
                took = window.press("More like this", at=chance.randrange(K))
            elif what < 0.8:
                text = f"{chance.choice(_SENTENCES)} {chance.randrange(50)}"
                took = window.write("Describe what the film shows", text, "Search")
            else:
                took = window.press("Random film")
            outcome.seconds.append(took)
        window.close()
        outcome.problems += window.problems
    except Exception as error:
        outcome.problems.append(f"visitor {seed}: {type(error).__name__}: {error}")


def _note(window: Visitor, outcome: Outcome) -> None:
    html = window.html()
    status, searched = _STATUS.search(html), _SEARCHED.search(window.text())
    if status is None:
        outcome.problems.append(f"a page without its status line: {window.text()[:300]}")
        return
    hits = tuple((unescape(id_), float(score)) for score, id_ in _HIT.findall(html))
    asked = parse_qs(window.link).get("id", [""])[-1]
    if asked and hits and searched:
        counts = [int(text.replace(",", "")) for text in (status[1], searched[1])]
        outcome.pages.append(Page(asked, int(status[2]), *counts, hits))


def _write(store: Path, encoder: Path, batches: int, seconds: float, outcome: Outcome) -> None:
    """Add batches, evenly spread over three quarters; this is not the server's process."""
    try:
        for batch in range(batches):
            time.sleep(0.75 * seconds / batches)
            first = 1000 + PER_BATCH * batch
            made = [films.film(first + n, "crowd") for n in range(PER_BATCH)]
            films.add(store, encoder, made)
    except Exception as error:
        outcome.problems.append(f"the writer: {type(error).__name__}: {error}")


def _compare(store: Path, outcome: Outcome) -> None:
    gallery = Gallery.open(store)
    ids = gallery.ids()
    vectors = gallery.vectors(ids).astype(np.float64)
    place = {id_: at for at, id_ in enumerate(ids)}
    came = np.array([_batch_of(id_) for id_ in ids])
    versions: dict[int, int] = {}
    for page in outcome.pages:
        if versions.setdefault(page.version, page.films) != page.films:
            outcome.problems.append(f"version {page.version} had two sizes: {page}")
        there = came < (page.films - FIRST) / PER_BATCH
        if there.sum() != page.films or page.searched != page.films - 1:
            outcome.problems.append(f"a page counts films of two versions: {page}")
            continue
        scores = vectors @ vectors[place[page.asked]]
        scores[~there] = scores[place[page.asked]] = -np.inf
        best = np.sort(scores)[::-1][: len(page.hits)]
        shown = np.array([score for _, score in page.hits])
        own = np.array([scores[place[id_]] for id_, _ in page.hits])
        if np.abs(shown - best).max() > 6e-4 or np.abs(shown - own).max() > 6e-4:
            outcome.problems.append(f"not the nearest of version {page.version}: {page}")


def _batch_of(id_: str) -> int:
    number = int(id_.rpartition("/")[2])
    return (number - 1000) // PER_BATCH if number >= 1000 else -1


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--batches", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = crowd(Path(folder), asked.visitors, asked.seconds, asked.batches)
    seconds = sorted(found.seconds)
    told = (
        f"{asked.visitors} visitors, {asked.seconds:.0f} s, {asked.batches} batches: "
        f"{len(seconds):,} clicks, median {statistics.median(seconds):.3f} s, "
        f"95 % below {seconds[int(0.95 * len(seconds))]:.3f} s\n"
        f"{len(found.pages):,} pages of {len({page.version for page in found.pages})} versions "
        f"compared, {len(found.problems)} problems\n"
        f"resident memory {found.memory_mb[0]:.0f} MB at first, {max(found.memory_mb):.0f} MB at "
        f"most, {found.memory_mb[-1]:.0f} MB at last; growth from the second to the last quarter "
        f"{found.growth_mb():+.0f} MB"
    )
    sys.stdout.write("\n  ".join([told, *found.problems[:10]]) + "\n")
    sys.exit(bool(found.problems))


if __name__ == "__main__":
    main()
