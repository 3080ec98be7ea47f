# ruff: noqa: E501 - the page is prose
"""What a gallery of 1 million, 100 million and 1 billion films takes: measured costs, then arithmetic.

``python -m tests.benchmarks.capacity --write`` measures on this machine and writes
docs/deploy/capacity.md. Prices, node sizes and the number of cores are assumptions, given as options.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery
from store.cluster import connection, shard
from store.table import lance
from tests.benchmarks.timing import best_of, filled, in_turns, rows_of, seconds
from tests.store.rows import mirror_of, random_vectors, table_of

PAGE = Path(__file__).parent.parent.parent / "docs" / "deploy" / "capacity.md"
SIZES = (1_000_000, 100_000_000, 1_000_000_000)
_GB = 1e9


@dataclass
class Costs:
    """Measured, per row unless said."""

    dimension: int
    disk_bytes: float
    thumbnail_bytes: float
    mirror_bytes: float
    encode_seconds: float
    decode_seconds: float
    commit_seconds: float
    scan_seconds: float  # one query, one core, by the first index
    batch_seconds: float  # one of 64 queries, one core
    load_seconds: float  # a shard reads its rows
    ids_seconds: float  # a shard reads which rows there are and when they changed
    copy_seconds: float  # and copies those of its own that did not
    shards_overhead: float  # of a search, not per row


@dataclass
class Assumed:
    """Not measured: what somebody else's cluster is like."""

    node_cores: int
    node_gib: float
    scanning: int
    core_hour: float
    workers: int
    film_bytes: float


def measure(rows: int, dimension: int, films: Path) -> Costs:
    import faiss
    import torch

    from ingest.encoders import load_encoder
    from ingest.images.decode import read_image
    from ingest.images.pixels import thumbnail

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled(f"{folder}/store", rows, dimension)
        gallery.optimize()
        gallery.refresh()
        now = mirror_of(gallery)
        now.find([now.ids[0]])
        held = now.vectors.nbytes + now.keys.nbytes + now.row_ids.nbytes + now.changed_at.nbytes
        held += (
            sum(part.nbytes for part in now.by_row_id) + now.count * 8
        )  # and the order of the ids
        # The second index that a large gallery gets once it is asked often, with its lengths left.
        held += int(1.07 * now.vectors.nbytes)
        on_disk = table_of(gallery).stats()["total_bytes"]
        new = rows_of(2000, dimension, 10**7)
        commit = seconds(lambda: gallery.upsert(new)) / len(new)
        queries = random_vectors(64, 1, dimension)
        faiss.omp_set_num_threads(1)
        scan = best_of(lambda: now.index.search(queries[:1], 10), 9)
        batch = best_of(lambda: queries @ now.vectors.T, 3)
        handle = lance.pin(gallery.uri, now.version)
        begin = time.perf_counter()
        part = shard.follow(None, handle, dimension, 0, 1)
        load = time.perf_counter() - begin
        columns = ["_rowid", "_row_last_updated_at_version"]
        ids = best_of(lambda: lance.scan(handle, columns), 3)
        follow = best_of(lambda: shard.follow(part, handle, dimension, 0, 1), 3)
        overhead = over_shards(folder)
        gallery.close()
    encoder = load_encoder()
    encoder.encode_images([np.zeros((28, 28), np.uint8)])
    decoded, pictures, pixels = film_costs(films, read_image, thumbnail)
    encode = best_of(lambda: encoder.encode_images(pixels), 3) / len(pixels)
    return Costs(
        dimension,
        on_disk / rows,
        pictures,
        held / rows,
        encode,
        decoded,
        commit,
        scan / rows,
        batch / rows / len(queries),
        load / rows,
        ids / rows,
        max(follow - ids, 0) / rows,
        overhead,
    )


def film_costs(folder: Path, read_image: Any, thumbnail: Any) -> tuple[float, float, list[Any]]:
    """Seconds to decode a film and make its thumbnail, that one's bytes, and the pixels; means."""
    times, sizes, pixels = [], [], []
    for path in film_files(folder)[:16]:
        begin = time.perf_counter()
        pixels.append(read_image(path.read_bytes()))
        picture = thumbnail(pixels[-1])
        times.append(time.perf_counter() - begin)
        sizes.append(len(picture))
    return float(np.mean(times)), float(np.mean(sizes)), pixels


def film_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".jpeg"))


def over_shards(folder: str) -> float:
    """Seconds that two shards add to a search of few rows."""
    few = filled(f"{folder}/few", 2048, 8)
    few.refresh()
    spread = Gallery.open(few.uri, shards=2)
    query = random_vectors(1, 1, 8)
    took = in_turns({"two": lambda: spread.search(query, 10), "one": lambda: few.search(query, 10)})
    extra = took["two"] - took["one"]
    spread.close()
    few.close()
    return extra


def rows_for(count: int, cost: Costs, given: Assumed) -> dict[str, str]:
    """One column of the table."""
    disk = count * (cost.disk_bytes + cost.thumbnail_bytes)
    held = count * cost.mirror_bytes
    nodes = max(math.ceil(2 * held / (0.8 * given.node_gib * 2**30)), 1)
    scan = count * cost.scan_seconds / (nodes * given.scanning)
    follow = count * (cost.ids_seconds + cost.copy_seconds / nodes)
    seconds_each = cost.encode_seconds + cost.decode_seconds
    return {
        "table, with thumbnails": size(disk),
        "the films themselves": size(count * given.film_bytes),
        "vectors in memory": size(held),
        "nodes that hold them, twice over": f"{nodes:,}",
        "one query": duration(scan + cost.shards_overhead * (nodes > 1)),
        "one of 64 queries": duration(count * cost.batch_seconds / (nodes * given.node_cores)),
        "shards load (start, or a lost one)": duration(count / nodes * cost.load_seconds),
        "a new version is followed in": duration(follow),
        "core-hours to encode": f"{count * seconds_each / 3600:,.0f}",
        f"the same on {given.workers} cores": duration(count * seconds_each / given.workers),
        "commits, one process": duration(count * cost.commit_seconds),
        "encoding costs": f"${count * seconds_each / 3600 * given.core_hour:,.0f}",
    }


def size(count: float) -> str:
    unit, name = next(((u, n) for u, n in ((1e12, "TB"), (1e9, "GB")) if count >= u), (1e6, "MB"))
    return f"{count / unit:,.1f} {name}"


def duration(took: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if took >= 1.5 * unit:
            return f"{took / unit:,.1f} {name}"
    return f"{1000 * took:,.1f} ms"


def page(cost: Costs, given: Assumed, rows: int) -> str:
    columns = {count: rows_for(count, cost, given) for count in SIZES}
    names = list(columns[SIZES[0]])
    seconds_each = cost.encode_seconds + cost.decode_seconds
    per_million = 1e6 * seconds_each / 3600
    n = SIZES[1]
    held = n * cost.mirror_bytes
    nodes = math.ceil(2 * held / (0.8 * given.node_gib * 2**30))
    return f"""# What it takes, for 1 million, 100 million and 1 billion films

Made by `python -m tests.benchmarks.capacity --write` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores,
from {rows:,} random vectors of {cost.dimension} dimensions. **The costs per row are measured; everything else
is arithmetic, shown below. Nobody has run a gallery of 100 million films.** Clocks of a shared machine are
good to a factor of two.

| | {" | ".join(f"{count:,}" for count in SIZES)} |
|---|{"--:|" * len(SIZES)}
{chr(10).join(f"| {name} | " + " | ".join(columns[c][name] for c in SIZES) + " |" for name in names)}

## Measured

| cost | |
|---|--:|
| table on disk, a row without its thumbnail | {cost.disk_bytes:,.0f} bytes |
| thumbnail of a film (longest side 256) | {cost.thumbnail_bytes:,.0f} bytes |
| memory, a row: vector, second index, id, row id, orders | {cost.mirror_bytes:,.0f} bytes |
| decoding a film and making its thumbnail, one core | {1e3 * cost.decode_seconds:,.2f} ms |
| encoding it, one core, by the bundled encoder, which looks at 28 pixels | {1e3 * cost.encode_seconds:,.2f} ms |
| writing a row | {1e6 * cost.commit_seconds:,.0f} us |
| scanning a row for one query, one core | {1e9 * cost.scan_seconds:,.1f} ns |
| scanning a row for one of 64 queries, one core | {1e9 * cost.batch_seconds:,.2f} ns |
| a shard reads a row from the table | {1e6 * cost.load_seconds:,.2f} us |
| a shard reads a row's id and last change | {1e9 * cost.ids_seconds:,.0f} ns |
| a shard copies a row that did not change | {1e9 * cost.copy_seconds:,.0f} ns |
| two shards add to a search | {1e3 * cost.shards_overhead:,.1f} ms |

## Assumed

{given.node_cores} cores and {given.node_gib:,.0f} GiB a node, 80 % of it for shards; {given.scanning} cores saturate a node's memory in
a scan; ${given.core_hour:.3f} per core-hour, a guess that you should replace; {given.workers} cores encode;
a film file is {given.film_bytes / 1e3:,.0f} kB. Options of the command change each of them.

## The arithmetic, for {n:,} films

- Memory: {n:,} x {cost.mirror_bytes:,.0f} bytes = {size(held)}. A version is loaded beside the one in use, so
  twice that: 2 x {size(held)} / (0.8 x {given.node_gib:,.0f} GiB) = {nodes} node{"s" * (nodes > 1)}, one shard each.
- One query: {n:,} x {1e9 * cost.scan_seconds:.1f} ns / ({nodes} x {given.scanning} cores) + {1e3 * cost.shards_overhead:.1f} ms = {columns[n]["one query"]}.
- Encoding: {1e6:,.0f} x ({1e3 * cost.decode_seconds:.2f} + {1e3 * cost.encode_seconds:.2f}) ms / 3600 s = **{per_million:,.2f} core-hours per million
  films, ${per_million * given.core_hour:,.2f}**. A larger encoder takes longer and belongs on GPUs: put in what
  `cxr ingest` reports for yours.
- Commits: {n:,} x {1e6 * cost.commit_seconds:.0f} us = {columns[n]["commits, one process"]}, in one process however many encode. It keeps up with
  {seconds_each / cost.commit_seconds:,.0f} cores that encode like this one.
- A new version: every shard reads {n:,} row ids x {1e9 * cost.ids_seconds:.0f} ns, and copies its own
  {n // nodes:,} rows x {1e9 * cost.copy_seconds:.0f} ns: {columns[n]["a new version is followed in"]}. Answers come from the old one meanwhile.

## Where this design stops

- **One committer.** Above some {1 / cost.commit_seconds:,.0f} films a second it is what everybody waits for. A first load of
  a billion takes {columns[SIZES[2]]["commits, one process"]} of commits alone; it would have to be appended by many writers at once,
  which loses the unique ids that one writer guarantees.
- **Every version costs every shard a look at all row ids**, and every new filter a scan of its columns of
  the whole table. At {n:,} rows that is {columns[n]["a new version is followed in"]} a version; at a billion {columns[SIZES[2]]["a new version is followed in"]}: commit in large
  batches, or follow by the table's own change feed, which this does not do.
- **Exact search reads everything.** Its price grows with the rows; from some hundred million on
  `--index lance` (approximate, with its recall measured and told) is the cheaper half, also on one node.
- **Evaluation and lists of ids pass through one process**: `cxr evaluate` asks every query of the split,
  and `Gallery.ids()` holds every id. Both are for samples there, not for the whole.
- Costs per row are those of the rows above; finding the known ids of a batch, and LanceDB's list of
  fragments, grow with the table. Few large commits, and `cxr optimize`, keep both short.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--films", type=Path, required=True, help="PNG or JPEG films to decode")
    parser.add_argument("--node-cores", type=int, default=16)
    parser.add_argument("--node-gib", type=float, default=128)
    parser.add_argument(
        "--scanning", type=int, default=4, help="cores that saturate a node's memory"
    )
    parser.add_argument("--core-hour", type=float, default=0.05, help="dollars")
    parser.add_argument("--workers", type=int, default=64, help="cores that encode")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    chosen = parser.parse_args()
    connection.connect()
    cost = measure(chosen.rows, chosen.dimension, chosen.films)
    sizes = [path.stat().st_size for path in film_files(chosen.films)]
    given = Assumed(
        chosen.node_cores,
        chosen.node_gib,
        chosen.scanning,
        chosen.core_hour,
        chosen.workers,
        float(np.mean(sizes)),
    )
    print(asdict(cost))
    text = page(cost, given, chosen.rows)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
