"""The HTTP service asked by 50 clients while batches come in.

    python -m tests.benchmarks.http_service [--rows 5856 100000] [--clients 50] [--seconds 20]

Every answer is checked: its status, that its rows are those of its table version, and that every
film in it was there in that version. Then the processor time of a sentence, beside the same
sentence on the command line.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from ingest.encoders import load_encoder
from store import EncoderStamp, Gallery
from tests.benchmarks.timing import heading, judge, low_rank, rows_of, verdicts
from tests.ui import browser

_BATCH, _BATCHES, _TEXTS = 500, 6, 100
_ENTRY = "import sys; sys.argv[0] = 'cxr'; from cxr import main; main()"
_SENTENCES = ("pneumonia opacity in lungs", "clear lungs", "dense consolidation", "normal film")


@contextmanager
def service(uri: str) -> Iterator[tuple[str, int]]:
    """Address and process of a service over a gallery, with no limit of rate that matters."""
    port = browser.free_port()
    command = [sys.executable, "-P", "-c", _ENTRY, "api", "--store", uri, "--port", str(port)]
    process = subprocess.Popen([*command, "--rate", "100000/second"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                if httpx.get(f"{url}/health").json()["encoder"] == "loaded":
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        httpx.get(f"{url}/search", params={"text": _SENTENCES[0]}, timeout=60)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def under_load(uri: str, stamp: EncoderStamp, clients: int, seconds: float) -> None:
    """Ask in turns by id, sentence and vector while batches come in; judge the waits."""
    gallery = Gallery.open(uri)
    rows = len(gallery)
    known = gallery.ids()[:1000]
    rows_at = {gallery.table_version: rows}
    waits: list[float] = []
    faults: list[str] = []
    ended = threading.Event()

    def ask(number: int, url: str) -> None:
        random = np.random.default_rng(number)
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                way = int(random.integers(3))
                asked: dict[str, Any] = {"k": 10}
                if way == 0:
                    asked["id"] = known[int(random.integers(len(known)))]
                elif way == 1:
                    asked["text"] = _SENTENCES[int(random.integers(len(_SENTENCES)))]
                else:
                    vector = random.normal(size=stamp.dimension)
                    asked["vector"] = (vector / np.linalg.norm(vector)).tolist()
                begin = time.perf_counter()
                answer = client.post("/search", json=asked)
                waits.append(time.perf_counter() - begin)
                if answer.status_code != 200:
                    faults.append(answer.text)
                    continue
                found = answer.json()
                version, held = found["store"]["table_version"], found["store"]["rows"]
                answers.append((version, held, [hit["id"] for hit in found["hits"]]))

    answers: list[tuple[int, int, list[str]]] = []
    with service(uri) as (url, _):
        threads = [threading.Thread(target=ask, args=(at, url)) for at in range(clients)]
        for thread in threads:
            thread.start()
        for at in range(_BATCHES):
            time.sleep(seconds / (_BATCHES + 1))
            made = rows_of(_BATCH, stamp.dimension, 7_000_000 + at, f"late/{at}/", low_rank)
            version = gallery.upsert(made).table_version
            rows_at[version] = rows + _BATCH * (at + 1)
        time.sleep(seconds / (_BATCHES + 1))
        ended.set()
        for thread in threads:
            thread.join()
    mixed = [
        one
        for one in answers
        if rows_at.get(one[0]) != one[1] or any(_later(id_, one[1], rows) for id_ in one[2])
    ]
    median, p95 = np.percentile(waits, [50, 95])
    versions = len({version for version, _, _ in answers})
    heading(f"{clients} clients, {rows:,} films, {_BATCHES} batches of {_BATCH} meanwhile")
    print(
        f"  {len(waits):,} answers, {len(waits) / seconds:.0f} a second, of {versions} versions; "
        f"median {1e3 * median:.1f} ms, p95 {1e3 * p95:.1f} ms, longest {1e3 * max(waits):.0f} ms"
    )
    for fault in faults[:3]:
        print(f"  {fault}")
    judge("requests that failed", len(faults), 0, "")
    judge("answers that mix versions", len(mixed), 0, "")
    judge(f"p95 of {rows:,} films", p95 / median, 5, "x the median")


def _later(id_: str, held: int, before: int) -> bool:
    """Whether a film came after a version that held so many."""
    batch = re.match(r"late/(\d+)/", id_)
    return batch is not None and before + _BATCH * (int(batch[1]) + 1) > held


def processor_time(uri: str) -> None:
    """Processor time of a warm sentence, beside the command line's, in turns."""
    heading("Processor time of one sentence, 5,856 films")
    with service(uri) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        served, alone = [], []
        for _ in range(3):
            begin = _cpu(process)
            for at in range(_TEXTS):
                text = _SENTENCES[at % len(_SENTENCES)]
                client.get("/search", params={"text": text}).raise_for_status()
            served.append((_cpu(process) - begin) / _TEXTS)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-P", "-c", _ENTRY, "search", "--store", uri, "--json"]
            subprocess.run([*command, "--text", _SENTENCES[0]], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            alone.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    ours, theirs = min(served), min(alone)
    ratio = f"1/{theirs / ours:.0f} of the command line's"
    print(f"  service {1e3 * ours:.1f} ms, {ratio} {1e3 * theirs:.0f} ms")
    judge("a sentence over HTTP", ours / theirs, 1 / 50, "x the command line", ours)


def _cpu(process: int) -> float:
    """Processor time of a process in seconds (Linux)."""
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    used = after_name.split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_856, 100_000])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    stamp = load_encoder("cxr-clip-28").stamp
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            uri = f"{folder}/{rows}"
            gallery = Gallery.create(uri, stamp)
            for first in range(0, rows, 50_000):
                many = min(50_000, rows - first)
                gallery.upsert(rows_of(many, stamp.dimension, first, f"film/{first}/", low_rank))
            if rows == given.rows[0]:
                processor_time(uri)
            under_load(uri, stamp, given.clients, given.seconds)
    verdicts()


if __name__ == "__main__":
    main()
