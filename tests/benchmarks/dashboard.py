"""From click to painted results, in a real browser: ``python -m tests.benchmarks.dashboard``.

    python -m tests.benchmarks.dashboard [--store GALLERY] [--rows 100000] [--searches 15]
                                         [--peer FOLDER]

Without ``--store`` a gallery of drawn films is made for the bundled encoder. A search counts as
painted when exactly the ids that the library finds stand on the page, their pictures are decoded,
and a frame was drawn after that. ``--peer`` names the folder of another build: both take turns over
the same gallery (``--store``, one that the older of them made), and the ratios are this build's to
the other's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from store import EncoderStamp, Gallery, Row
from tests.ingest.films import film
from tests.ui import browser, films

FIRST_PAGE_S = 3.0
_K = 10
_DROP = "a DICOM film of 3000 x 3000, 12 bits"
UPLOAD_S = 2.0
_WORDS = ("opacity", "consolidation", "normal", "effusion", "clear", "pneumonia", "lower", "left")

#: Watches the page by itself, so that the test's own round trips are not measured.
_WATCH = """
([ids, key]) => new Promise(done => {
  const shown = () => [...document.querySelectorAll('.cxr.hit .mono')].map(e => e.textContent);
  const ready = () => {
    const found = shown();
    return found.length === ids.length && found.every((id, at) => id === ids[at])
      && [...document.querySelectorAll('.cxr.hit img')].every(i => i.complete && i.naturalWidth)
      && document.querySelector('.cxr.query')?.textContent.includes(key);
  };
  const look = () => {
    if (!ready()) return;
    watch.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  };
  const watch = new MutationObserver(look);
  watch.observe(document.body, {childList: true, subtree: true, characterData: true,
                                attributes: true});
  document.addEventListener('load', look, true);
})
"""
_CLOCK = """
window.asked = 0;
const note = event => { if (event.isTrusted) window.asked = performance.now(); };
for (const kind of ['click', 'keydown']) document.addEventListener(kind, note, true);
"""


@contextlib.contextmanager
def gallery_of(rows: int, like: EncoderStamp, dimension: int) -> Iterator[str]:
    """Drawn films under random vectors of the bundled encoder's stamp: the speed is the same."""
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, like)
        pictures = [films.png(films.draw(seed, seed % 2 == 1)) for seed in range(64)]
        chance = np.random.default_rng(0)
        for start in range(0, rows, 20_000):
            count = min(20_000, rows - start)
            vectors = chance.standard_normal((count, dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            gallery.upsert(
                [
                    Row(
                        id=f"drawn/train/{number}",
                        sha256=number.to_bytes(32, "big"),
                        embedding=vector,
                        labels=("pneumonia",) if number % 2 else ("normal",),
                        split="train" if number % 5 else "test",
                        dataset="drawn",
                        thumbnail=pictures[number % 64],
                        width=28,
                        height=28,
                    )
                    for number, vector in enumerate(vectors, start)
                ]
            )
        gallery.optimize()
        yield folder


def served(
    build: Path | None, store: str, home: Path
) -> contextlib.AbstractContextManager[browser.Served]:
    """This build's dashboard, or that of another folder."""
    surroundings = {} if build is None else {"PYTHONPATH": str(build)}
    return browser.serving(store, None, home, **surroundings)


def first_page(
    chromium: Any, store: str, home: Path, build: Path | None = None
) -> tuple[float, float]:
    """Seconds from ``cxr serve`` to films on the page, and of processor time until then.

    The browser is open already, and asks as soon as the server answers.
    """
    page = chromium.new_page(viewport={"width": 1440, "height": 1010})
    begin = time.perf_counter()
    with served(build, store, home) as board:
        page.goto(board.url)
        page.locator(".cxr.hit img").first.wait_for(timeout=60_000)
        took = time.perf_counter() - begin
        busy = sum(map(_cpu_seconds, (board.process.pid, board.pid)))
    page.close()
    return took, busy


def _cpu_seconds(pid: int) -> float:
    """Processor time that a process had until now, in the system and outside it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Searcher:
    """A page of a served dashboard that searches, and what the library finds."""

    def __init__(self, chromium: Any, board: browser.Served, gallery: Gallery) -> None:
        from ingest.encoders import load_encoder

        self._gallery, self._encoder = gallery, load_encoder(gallery.stamp.name)
        self._page = chromium.new_page(viewport={"width": 1440, "height": 1010})
        self._page.add_init_script(_CLOCK)
        self._page.goto(board.url)
        self._page.locator(".cxr.hit").first.wait_for(timeout=60_000)
        self._page.wait_for_timeout(8_000)  # the encoder is warmed up after the first page
        self.times: dict[str, list[float]] = {"a sentence": [], "more like this": [], _DROP: []}

    def drop(self, path: Path) -> None:
        """An upload, until its hits are painted."""
        from ingest import read_image

        vectors = self._encoder.encode_images([read_image(path)])
        hits = self._gallery.search(vectors, _K)[0]
        self._page.get_by_role("tab", name="Upload").click()
        box = self._page.locator("input[type=file]").first

        def act() -> None:
            self._page.evaluate("window.asked = performance.now()")
            box.set_input_files(path)

        self.times[_DROP].append(_timed(self._page, hits, path.name, act))

    def search(self, number: int) -> None:
        """One search by a sentence and one by "More like this"."""
        text = " ".join(_WORDS[(number * step + 1) % len(_WORDS)] for step in (1, 3, 5))
        text = f"{text} {number}"
        hits = self._gallery.search(self._encoder.encode_texts([text]), _K)[0]
        self._page.get_by_role("tab", name="Describe").click()
        box = self._page.get_by_role("searchbox", name="Describe what the film shows")
        box.fill(text)
        took = _timed(self._page, hits, text, partial(box.press, "Enter"))
        self.times["a sentence"].append(took)
        asked = hits[number % 3].row.id
        hits = self._gallery.search_by_id(asked, _K)
        button = self._page.get_by_role("button", name="More like this").nth(number % 3)
        self.times["more like this"].append(_timed(self._page, hits, asked, button.click))


def searches(
    chromium: Any, store: str, home: Path, count: int, builds: Sequence[Path | None]
) -> list[dict[str, list[float]]]:
    """Seconds of searches by sentence and by "More like this", of each build in turn."""
    gallery = Gallery.open(store)
    with contextlib.ExitStack() as stack:
        pages = [
            Searcher(chromium, stack.enter_context(served(one, store, home / str(place))), gallery)
            for place, one in enumerate(builds)
        ]
        for number in range(2 + max(1, count // 5)):
            # Former builds ask for an ending.
            (folder := home / f"film{number}").mkdir(parents=True)
            dropped = dicom_film(folder / "IM0001.dcm", number)
            for page in pages if number % 2 else pages[::-1]:
                page.drop(dropped)
        for number in range(count + 2):
            for page in pages if number % 2 else pages[::-1]:
                page.search(number)
    # The first two warm up; the first upload into a gallery is told by itself.
    return [
        {
            "the first upload": page.times[_DROP][:1],
            **{name: times[2:] for name, times in page.times.items()},
        }
        for page in pages
    ]


def dicom_film(path: Path, seed: int, side: int = 3000) -> Path:
    """A DICOM film of so many pixels a side, 12 bits each, as a detector sends it."""
    lungs = np.kron(films.draw(seed, seed % 2 == 1), np.ones((side // 28 + 1,) * 2, np.uint16))
    noise = np.random.default_rng(seed).integers(0, 60, (side, side), dtype=np.uint16)
    values = lungs[:side, :side].astype(np.uint16) * 15 + noise
    shown = {"WindowCenter": 2000, "WindowWidth": 3900, "BodyPartExamined": "CHEST"}
    path.write_bytes(film(values, BitsStored=12, HighBit=11, **shown))
    return path


def _timed(page: Any, hits: Sequence[Any], key: str, act: Any) -> float:
    ids = [hit.row.id for hit in hits]
    handle = page.evaluate_handle(
        f"([ids, key]) => ({{ over: ({_WATCH})([ids, key]) }})", [ids, key]
    )
    act()
    end = handle.evaluate("it => it.over")
    return (end - page.evaluate("window.asked")) / 1000


def main() -> None:
    from ingest.encoders import load_encoder
    from tests.benchmarks.timing import heading

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a gallery of the bundled encoder; default: drawn films")
    parser.add_argument("--rows", type=int, default=5856)
    parser.add_argument("--searches", type=int, default=15)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="the folder of another build, to compare with")
    asked = parser.parse_args()
    if asked.peer and not asked.store:
        parser.error(
            "--peer: also give --store, a gallery that both builds read, such as the other's"
        )
    stamp = load_encoder("cxr-clip-28").stamp
    builds = [None, *([asked.peer.resolve()] if asked.peer else [])]
    with contextlib.ExitStack() as stack:
        store = asked.store or stack.enter_context(gallery_of(asked.rows, stamp, stamp.dimension))
        rows = len(Gallery.open(store))
        bar = 0.3 if rows <= 20_000 else 0.5
        heading(f"The dashboard in a browser, {rows:,} films")
        chromium = stack.enter_context(browser.chromium())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        starts: list[list[tuple[float, float]]] = [[] for _ in builds]
        for number in range(asked.starts):
            turn = [*enumerate(builds)]
            for place, build in turn if number % 2 else turn[::-1]:
                folder = home / f"start{number}-{place}"
                starts[place].append(first_page(chromium, store, folder, build))
        for at, what in enumerate(("first page after cxr serve", "its processor time")):
            times = [[one[at] for one in found] for found in starts]
            _tell(what, times, None if at else FIRST_PAGE_S)
        found = searches(chromium, store, home / "searches", asked.searches, builds)
        for name in found[0]:
            wanted = UPLOAD_S if name == _DROP else None if "first" in name else bar
            _tell(f"to painted results: {name}", [one[name] for one in found], wanted)


def _tell(work: str, times: Sequence[Sequence[float]], bar: float | None) -> None:
    """One line: this build's times, held against a bar, and their ratio to those of a peer."""
    median, low, high = statistics.median(times[0]), min(times[0]), max(times[0])
    said = f"{1000 * median:7.0f} ms at the median ({1000 * low:.0f} to {1000 * high:.0f})"
    if bar is not None:
        said += f", bar {1000 * bar:.0f} ms: {'met' if median < bar else 'MISSED'}"
    for other in times[1:]:
        peer = statistics.median(other)
        said += f", peer {1000 * peer:.0f} ms: {median / peer:.2f} times"
    print(f"  {work:<44} {said}", flush=True)


if __name__ == "__main__":
    main()
