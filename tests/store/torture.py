"""Kills and power losses at random points: ``make torture``.

A workload of batches (new rows, changed rows, deletions), merges, mirror saves and heals is cut
off again and again. After each cut the store must hold what was acknowledged, and at most the one
batch that was under way, whole. At the end it must equal an undisturbed run.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery
from store.mirror import disk_cache
from store.table import lance as tables
from store.table import local
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
BATCH = 40
_POOL = 400

State = dict[str, int]


@cache
def rows_of(batch: int) -> list[Any]:
    """The rows of a batch: some ids are new, some were written before with other vectors."""
    chosen = random.Random(batch).sample(range(_POOL), BATCH)
    made = make_rows(random_vectors(BATCH, batch), [(str(batch),)] * BATCH, thumbnail=PNG)
    return [replace(row, id=f"set/test/{i}") for row, i in zip(made, chosen, strict=True)]


@cache
def _vectors(batch: int) -> dict[str, Any]:
    return {row.id: row.embedding for row in rows_of(batch)}


def doomed(batch: int) -> list[str]:
    """Ids that this step deletes instead of writing; mostly none."""
    if batch % 7 != 6:
        return []
    return [f"set/test/{i}" for i in random.Random(-batch).sample(range(_POOL), 15)]


def apply(gallery: Gallery, batch: int) -> None:
    """One step of the workload; when it returns it is acknowledged."""
    if doomed(batch):
        gallery.delete(ids=list(gallery.rows(doomed(batch))))
    else:
        gallery.upsert(rows_of(batch))
    if batch % 5 == 4:
        gallery.refresh()
        disk_cache.save(gallery.uri, mirror_of(gallery))
    if batch % 9 == 8:
        gallery.optimize()


def expected(batches: int) -> State:
    """What an undisturbed run leaves: id to the batch that wrote it last."""
    state: State = {}
    for batch in range(batches):
        for id_ in doomed(batch):
            state.pop(id_, None)
        if not doomed(batch):
            state.update(dict.fromkeys((row.id for row in rows_of(batch)), batch))
    return state


def held(gallery: Gallery) -> State:
    """What a store holds; fails when anything in it is not whole."""
    assert gallery.check() == []
    gallery.refresh()
    snapshot = mirror_of(gallery)
    rows = gallery.rows(snapshot.ids)
    state = {id_: int(rows[id_].labels[0]) for id_ in snapshot.ids}
    for id_, vector in zip(snapshot.ids, snapshot.vectors, strict=True):
        batch = state[id_]
        assert np.array_equal(_vectors(batch)[id_], vector), id_
    return state


def done(gallery: Gallery, acknowledged: int, under_way: int) -> int:
    """How many batches a store holds, from those it may hold; fails when it holds none of them."""
    state = held(gallery)
    for batches in range(under_way, acknowledged - 1, -1):
        if state == expected(batches):
            return batches
    raise AssertionError(
        f"the store holds neither {acknowledged} nor {under_way} batches whole: {len(state)} rows"
    )


# -- kills -------------------------------------------------------------------------------------


def worker(uri: str, first: int) -> None:
    """Do batches from ``first`` on, saying so after each, until killed."""
    import faiss
    import lancedb

    _ = faiss, lancedb  # loaded before the clock starts: kills are for the store
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    gallery = Gallery.open(uri)
    for batch in range(first, 10**9):
        apply(gallery, batch)
        sys.stdout.write(f"{batch}\n")
        sys.stdout.flush()


def fake_loss(uri: str) -> None:
    """A version that never reached the disk: its writer was cut off before acknowledging it."""
    folder = tables.folder(uri)
    version, path = local.manifests(folder)[0]
    path.with_name(f"{2**64 - 2 - version}.manifest").write_bytes(b"")


def kills(count: int, seed: int = 0) -> Counter[str]:
    """Kill a writer ``count`` times; what it was doing, by name."""
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/store"
        Gallery.create(uri, STAMP)
        reached = 0
        for trial in range(count):
            damaged = trial % 4 == 3
            if damaged:
                fake_loss(uri)
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.store.torture", "--worker", uri, str(reached)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parent.parent.parent,
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.2 if damaged else 1.5))
            process.send_signal(signal.SIGKILL)
            told = process.stdout.read().split()
            process.wait()
            acknowledged = int(told[-1]) + 1 if told else reached
            was = done(Gallery.open(uri), acknowledged, acknowledged + 1)
            seen["damaged head, nothing written yet" if damaged and not told else "writing"] += 1
            seen["batches acknowledged"] += len(told)
            seen["committed but not acknowledged"] += was > acknowledged
            reached = was
        gallery = Gallery.open(uri)
        for batch in range(reached, reached + 5):
            apply(gallery, batch)
        assert held(gallery) == expected(reached + 5)
        seen["rows at the end"] = len(expected(reached + 5))
    return seen


# -- power losses ------------------------------------------------------------------------------


class PowerLoss(BaseException):
    """The machine stops here."""


class Disk:
    """Knows which files were forced to disk, and stops at a given fsync."""

    def __init__(self) -> None:
        self.files: dict[Path, tuple[int, int, int]] = {}
        self.safe: dict[Path, tuple[int, int, int]] = {}
        self.left = 0
        self._fsync = local.fsync

    @staticmethod
    def identity(path: Path) -> tuple[int, int, int]:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def fsync(self, path: Path) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerLoss
        if path.is_dir():  # names in a folder last from here on
            for file, identity in list(self.files.items()):
                if file.parent == path:
                    self.safe[file] = identity
        elif path.exists():
            self.files[path] = self.identity(path)

    def fail(self, folder: Path, chance: random.Random) -> int:
        """Zero, cut or remove files that were not forced to disk; how many."""
        hurt = 0
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if self.safe.get(path) == self.identity(path) or chance.random() < 0.4:
                continue
            size = path.stat().st_size
            how = chance.choice(["zero", "cut", "gone"])
            if how == "gone":
                path.unlink()
            else:
                cut = chance.randrange(size + 1)
                path.write_bytes(bytes(size) if how == "zero" else path.read_bytes()[:cut])
            hurt += 1
        for path in folder.rglob("*"):  # what is there after the reboot is on disk
            if path.is_file():
                self.files[path] = self.safe[path] = self.identity(path)
        local.synced.clear()
        return hurt

    def __enter__(self) -> Disk:
        local.fsync = self.fsync  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        local.fsync = self._fsync


def losses(count: int, seed: int = 0) -> Counter[str]:
    """Lose power ``count`` times at a random fsync, of writing, merging, saving or healing."""
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, Disk() as disk:
        uri = f"{folder}/store"
        disk.left = 10**9
        Gallery.create(uri, STAMP)
        reached = 0
        for _ in range(count):
            disk.left = chance.randrange(60 + 2 * sum(1 for _ in Path(uri).rglob("*")))
            acknowledged = reached
            try:
                gallery = Gallery.open(uri)
                for batch in _from(reached):
                    apply(gallery, batch)
                    acknowledged = batch + 1
            except PowerLoss:
                pass
            gallery = None  # type: ignore[assignment]
            seen["files damaged"] += disk.fail(Path(uri), chance)
            if chance.random() < 0.3:  # again, while healing
                disk.left = chance.randrange(6)
                try:
                    Gallery.open(uri)
                    seen["opened at once"] += 1
                except PowerLoss:
                    seen["lost power again while opening"] += 1
                seen["files damaged"] += disk.fail(Path(uri), chance)
            disk.left = 10**9
            was = done(Gallery.open(uri), acknowledged, acknowledged + 1)
            seen["batches acknowledged"] += acknowledged - reached
            seen["unacknowledged batch survived"] += was > acknowledged
            reached = was
        gallery = Gallery.open(uri)
        for batch in range(reached, reached + 5):
            apply(gallery, batch)
        assert held(gallery) == expected(reached + 5)
        seen["versions quarantined"] = len(list(Path(uri).rglob("*.corrupt*")))
        seen["rows at the end"] = len(expected(reached + 5))
    return seen


def _from(first: int) -> Iterator[int]:
    return iter(range(first, 10**9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--losses", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs=2, metavar=("URI", "BATCH"))
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker[0], int(arguments.worker[1]))
        return
    for name, run in (("losses", losses), ("kills", kills)):
        begin = time.perf_counter()
        seen = run(getattr(arguments, name), arguments.seed)
        seconds = time.perf_counter() - begin
        sys.stdout.write(f"{getattr(arguments, name)} {name}, all recovered, {seconds:.0f} s\n")
        for what, number in seen.items():
            sys.stdout.write(f"  {what}: {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
