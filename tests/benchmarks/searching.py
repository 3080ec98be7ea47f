"""Search beside the build in which FAISS did not search, and beside every peer, in one run.

Both builds do the same work in turns, each in a process of its own (tests.benchmarks.one_build).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery, Vectors
from store.mirror import faiss_index, second_index, snapshot
from store.mirror.snapshot import Snapshot
from store.search import exact as nearest
from tests.benchmarks import peers
from tests.benchmarks.timing import best_of, heading, in_turns, judge, line, low_rank
from tests.store.rows import mirror_of, random_vectors, unit

K = peers.K
ROOT = Path(__file__).parent.parent.parent
#: The last build that scanned by itself: matrix products in blocks, and an 8-bit copy.
BEFORE = "54dbb93"
NEW, OLD = "this build", BEFORE
_CHILD = Path(__file__).with_name("one_build.py")


class Child:
    """One build at work."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self._process = subprocess.Popen(
            [sys.executable, str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=root,
        )
        found = Path(self.do("where"))
        assert found == root.resolve(), f"{found} is measured instead of {root}"

    def do(self, name: str, *arguments: Any) -> Any:
        """What a function of one_build returns."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps([name, [str(a) if isinstance(a, Path) else a for a in arguments]]))
        stdin.write("\n")
        stdin.flush()
        said = stdout.readline()
        if not said:
            raise RuntimeError(f"the build in {name} ended with code {self._process.wait()}")
        return json.loads(said)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def asked_often(gallery: Gallery) -> Snapshot:
    """The snapshot, once it has its second index and its metadata in memory, as a dashboard has."""
    now = mirror_of(gallery)
    query = random_vectors(1, 7, gallery.stamp.dimension)
    for _ in range(max(second_index.ASKED, snapshot.asked_often(now.count)) + 1):
        gallery.search(query, K)
    for thread in threading.enumerate():
        if thread.name in ("cxr-second-index", "cxr-metadata"):
            thread.join()
    return now


def run(rows: int, dimension: int, most: int, quick: bool, medmnist: Path | None) -> None:
    """All of it; ``rows`` x ``dimension`` beside the peers, ``most`` rows of 128 at most."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        builds = {NEW: ROOT}
        try:
            builds[OLD] = _checkout(place / "before")
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"  {BEFORE} cannot be had ({error}); no ratio to it is measured")
        wide = _vectors(place / "wide", low_rank(rows, 1, dimension), dimension)
        _joined(builds, place)
        _films(builds, place, medmnist)
        _wide(builds, wide)
        _largest(builds, place, most)
        _random(place)
        _evaluation(builds, place, rows)
        _opening(builds, place, most)
        _readers(builds, place)
        _others(place, wide, quick)


def _checkout(folder: Path) -> Path:
    """The earlier build, from this repository's history."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", BEFORE, "store"], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _vectors(folder: Path, vectors: Vectors, dimension: int) -> tuple[Path, Path]:
    """Files of vectors and of 64 queries that are like them."""
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors)
    some = vectors[:: max(len(vectors) // 64, 1)][:64]
    np.save(folder / "queries.npy", unit(some + 0.3 * random_vectors(64, 5, dimension)))
    return folder / "vectors.npy", folder / "queries.npy"


@contextmanager
def _children(builds: dict[str, Path]) -> Iterator[dict[str, Child]]:
    made: dict[str, Child] = {}
    try:
        for name, root in builds.items():
            made[name] = Child(root)
        yield made
    finally:
        for child in made.values():
            child.close()


def _turns(work: dict[str, Callable[[], float]], turns: int = 5) -> dict[str, float]:
    """The least of what each returns, called in turns."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(turns):
        for name, one in work.items():
            found[name].append(one())
    return {name: min(values) for name, values in found.items()}


def _beside(
    work: str, took: dict[str, float], bar: float, stretch: float, unit_: str = "x 54dbb93"
) -> None:
    """Ours beside the earlier build's, against both bars."""
    if OLD not in took:
        line(work, took[NEW])
        return
    ratio = took[NEW] / took[OLD]
    judge(work, ratio, bar, unit_, took[NEW])
    judge("  the same, stretch", ratio, stretch, unit_)


def _joined(builds: dict[str, Path], place: Path) -> None:
    heading("One query with its join, 5,856 x 128, asked often")
    vectors, queries = _vectors(place / "small", low_rank(5856, 2, 128), 128)
    folders = _galleries(builds, place / "joined", vectors)
    with _children(builds) as children:
        for name, child in children.items():
            child.do("gallery", folders[name], queries)
        took = _turns({n: lambda c=c: c.do("joined", 64) for n, c in children.items()}, 8)
    _beside("one query, 5,856 x 128, with join", took, 0.6, 0.45)


def _galleries(builds: dict[str, Path], folder: Path, vectors: Path) -> dict[str, Path]:
    """A gallery of the same vectors for each build, made by it."""
    found = {name: folder / str(number) for number, name in enumerate(builds)}
    with _children(builds) as children:
        for name, child in children.items():
            child.do("fill", found[name], vectors)
    return found


def _films(builds: dict[str, Path], place: Path, medmnist: Path | None) -> None:
    heading("One query, 58,560 x 128: every film of PneumoniaMNIST under ten small changes")
    if medmnist is None:
        print("  set MEDMNIST_ROOT to time it")
        return
    print("  encoding them, some minutes", flush=True)
    files = _vectors(place / "films", _changed_films(medmnist), 128)
    with _children(builds) as children:
        for child in children.values():
            child.do("load", *files)
            child.do("warm")
        took = _turns({n: lambda c=c: c.do("nearest", 1, 64) for n, c in children.items()}, 8)
    _beside("one query, 58,560 x 128 of films, search only", took, 0.4, 0.25)


def _changed_films(medmnist: Path) -> Vectors:
    from ingest.encoders import load_encoder

    with np.load(medmnist / "pneumoniamnist.npz") as file:
        films = np.concatenate([file[f"{split}_images"] for split in ("train", "val", "test")])
    encoder, random = load_encoder(), np.random.default_rng(0)
    found = []
    for _ in range(10):
        down, right = random.integers(-1, 2, 2)
        moved = np.roll(films, (down, right), axis=(1, 2)).astype(np.float32)
        moved = moved * random.uniform(0.9, 1.1) + random.normal(0, 4, moved.shape)
        changed = moved.clip(0, 255).astype(np.uint8)
        for start in range(0, len(changed), 1024):
            found.append(encoder.encode_images(list(changed[start : start + 1024])))
    return np.concatenate(found)


def _wide(builds: dict[str, Path], files: tuple[Path, Path]) -> None:
    vectors, queries = np.load(files[0], mmap_mode="r"), np.load(files[1])
    heading(f"Search only, {len(vectors):,} x {vectors.shape[1]} of rank 64")
    firsts: dict[str, float] = {}
    for _ in range(3):
        with _children(builds) as children:
            for child in children.values():
                child.do("load", *files)
            for name, child in children.items():
                firsts[name] = min(firsts.get(name, np.inf), child.do("first", 32))
    with _children(builds) as children:
        held = {name: child.do("load", *files) for name, child in children.items()}
        alone = min(children[NEW].do("flat", 1, 9) for _ in range(3))
        more = {name: child.do("warm") for name, child in children.items()}
        one = _turns({n: lambda c=c: c.do("nearest", 1, 64) for n, c in children.items()})
        some = _turns({n: lambda c=c: c.do("nearest", 1, 40, True) for n, c in children.items()})
        many = _turns({n: lambda c=c: c.do("nearest", 64, 4) for n, c in children.items()})
        used = children[NEW].do("used")
    _beside(f"one query, {len(vectors):,} x {vectors.shape[1]}", one, 0.55, 0.4)
    _beside("the first 32 queries of a process", firsts, 1.0, 0.5)
    if OLD in some:
        line("a filter that keeps a tenth, one query", some[NEW], OLD, some[OLD])
    judge("  beside a plain unfiltered IndexFlatIP", some[NEW] / alone, 0.3, "x IndexFlatIP")
    judge("  the same, stretch", some[NEW] / alone, 0.1, "x IndexFlatIP")
    bare = np.ascontiguousarray(vectors)
    product = best_of(lambda: queries @ bare.T, 7)
    if OLD in many:
        line("64 queries, the earlier build's 8-bit copy", many[OLD], "bare sgemm", product)
    judge("64 queries", many[NEW] / product, 1.15, "x bare sgemm", many[NEW])
    judge("  the same, stretch", many[NEW] / product, 0.8, "x bare sgemm")
    size = held[NEW]["vectors"]
    judge("memory of the mirror alone", held[NEW]["bytes"] / size, 1.05, "x vectors")
    both = (held[NEW]["bytes"] + used.get("bytes", 0)) / size
    judge("  with the second index", both, 2.2, "x vectors")
    grown = (held[NEW]["bytes"] + more[NEW]["bytes"]) / size
    judge("  the same, as the process grew", grown, 2.2, "x vectors")
    print(f"  second index: {used or 'none'}")


def _largest(builds: dict[str, Path], place: Path, rows: int) -> None:
    heading(f"One query, {rows:,} x 128 of rank 64")
    files = _vectors(place / "largest", low_rank(rows, 3, 128), 128)
    with _children(builds) as children:
        for child in children.values():
            child.do("load", *files)
            child.do("warm")
        took = _turns({n: lambda c=c: c.do("nearest", 1, 20) for n, c in children.items()})
        print(f"  second index: {children[NEW].do('used') or 'none'}")
    _beside(f"one query, {rows:,} x 128, search only", took, 0.6, 0.45)


def _random(place: Path) -> None:
    heading("Random vectors of full rank, 100,000 x 128: the second index stands back")
    rows = nearest.Rows.of(random_vectors(100_000, 4, 128))
    query = random_vectors(1, 5, 128)
    for _ in range(second_index.ASKED + 1):
        nearest.nearest(rows, query, K)
    for thread in threading.enumerate():
        if thread.name == "cxr-second-index":
            thread.join()
    took = in_turns(
        {
            "ours": lambda: nearest.nearest(rows, query, K),
            "flat": lambda: rows.index.search(query, K),
        },
        5,
        run=20,
    )
    judge("one query", took["ours"] / took["flat"], 1.2, "x IndexFlatIP", took["ours"])
    print(f"  second index: {second_index.known(rows) or 'none'}")


def _evaluation(builds: dict[str, Path], place: Path, rows: int) -> None:
    heading(f"Leave-one-out P@10, {rows:,} x 128")
    np.save(place / "loo.npy", random_vectors(rows, 1, 128))
    took: dict[str, float] = {}
    for _ in range(2):
        with _children(builds) as children:
            for name, child in children.items():
                seconds = child.do("leave_one_out", place / "loo.npy")
                took[name] = min(took.get(name, np.inf), seconds)
    _beside("leave-one-out P@10", took, 1.0, 0.8)


def _opening(builds: dict[str, Path], place: Path, rows: int) -> None:
    heading(f"Opening {rows:,} x 128 with a saved mirror, and following it")
    vectors, queries = _vectors(place / "opened", random_vectors(rows, 6, 128), 128)
    folders = _galleries(builds, place / "opening", vectors)
    with _children(builds) as children:
        for name, child in children.items():
            child.do("save", folders[name])
    opened: dict[str, float] = {}
    for _ in range(5):
        for name, root in builds.items():
            with _children({name: root}) as children:
                seconds = children[name].do("open_and_ask", folders[name], queries)
                opened[name] = min(opened.get(name, np.inf), seconds)
    _beside("open with a saved mirror, first answer", opened, 1.1, 0.8)
    batches = iter(range(1000))
    with _children(builds) as children:
        followed = _turns(
            {
                n: lambda n=n, c=c: c.do("refresh", folders[n], next(batches))
                for n, c in children.items()
            }
        )
    _beside("refresh after 1,000 rows", followed, 1.1, 0.8)


def _readers(builds: dict[str, Path], place: Path) -> None:
    heading("16 readers of 20,000 x 128 while another program keeps all cores busy")
    vectors, queries = _vectors(place / "readers", low_rank(20_000, 8, 128), 128)
    folders = _galleries(builds, place / "read", vectors)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(faiss_index.cores())
    ]
    try:
        with _children(builds) as children:
            for name, child in children.items():
                child.do("gallery", folders[name], queries)
            slow = _turns(
                {n: lambda c=c: -c.do("readers", 16, 3.0) for n, c in children.items()}, 4
            )
    finally:
        for one in busy:
            one.kill()
            one.wait()
    pace = {name: -value for name, value in slow.items()}
    print("  answers a second: " + ", ".join(f"{name} {each:.0f}" for name, each in pace.items()))
    if OLD in pace:
        ratio = pace[NEW] / pace[OLD]
        judge("answers a second", ratio, 1.0, "x 54dbb93", least=True)
        judge("  the same, stretch", ratio, 2.0, "x 54dbb93", least=True)


def _others(place: Path, files: tuple[Path, Path], quick: bool) -> None:
    """Every peer on the same vectors."""
    rows = nearest.Rows.of(np.load(files[0]))
    queries = np.load(files[1])
    second_index.give(rows, second_index.make(rows.index))
    one = best_of(lambda: nearest.nearest(rows, queries[:1], K), 9)
    many = best_of(lambda: nearest.nearest(rows, queries, K), 5)
    truth = peers.numpy_matmul(rows.vectors)(queries)
    heading(f"Peers on the same vectors; ours takes {1e3 * one:.2f} ms, for 64 {1e3 * many:.1f} ms")
    print(f"  {'':<36} {'one query':>20} {'64 queries':>22}  recall@10  ready in")
    exact = {}
    for name, peer, made in peers.all_of(rows.vectors, place, not quick):
        if isinstance(peer, str):
            print(f"  {name:<36} {peer}")
            continue
        took = in_turns(
            {
                "ours": lambda: nearest.nearest(rows, queries, K),
                "peer": lambda peer=peer: peer(queries),
            },
            3,
        )
        alone, batch = best_of(lambda peer=peer: peer(queries[:1]), 5), took["peer"]
        print(
            f"  {name:<36} {1e3 * alone:9.2f} ms {alone / one:6.1f} x "
            f"{1e3 * batch:10.1f} ms {batch / took['ours']:6.1f} x  "
            f"{recall(peer(queries), truth):9.3f}  {made:6.1f} s",
            flush=True,
        )
        if "approximate" not in name and name != peers.LANCE_FLAT:
            exact[name] = took["ours"] / batch
        if name == peers.LANCE_FLAT:
            judge("one query against LanceDB's flat search", alone / one, 15, "x", least=True)
    for name, ratio in exact.items():
        judge(f"64 queries beside {name}", ratio, 1.0, "x its time")
    for name, asked in (("64 at once", [queries]), ("one by one", queries[:, None])):
        found = [row[0] for part in asked for row in nearest.nearest(rows, part, K)]
        judge(f"recall@10, {name}", recall(np.asarray(found), truth), 1, "", least=True)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    hits = (len(set(mine) & set(theirs)) for mine, theirs in zip(found, truth, strict=True))
    return sum(hits) / truth.size
