"""Other ways to the ten nearest of the same vectors. A peer that is not installed is said so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from store import Vectors

K = 10
#: Queries x dimensions from which FAISS multiplies matrices, unless it is told otherwise.
_SHIPPED = 128_000
LANCE_FLAT = "LanceDB flat"
#: One query (1, d) or many (q, d) to positions (q, 10).
Search = Callable[[Vectors], Any]
#: name, what it is, its search
Peer = tuple[str, Search]


def numpy_matmul(vectors: Vectors) -> Search:
    def search(queries: Vectors) -> Any:
        if len(queries) == 1:
            scores = vectors @ queries[0]
            return np.argpartition(-scores, K)[None, :K]
        return np.argpartition(-(queries @ vectors.T), K, axis=1)[:, :K]

    return search


def faiss_flat(vectors: Vectors) -> Search:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    ours = faiss.cvar.distance_compute_blas_threshold

    def search(queries: Vectors) -> Any:
        faiss.cvar.distance_compute_blas_threshold = _SHIPPED
        try:
            return index.search(queries, K)[1]
        finally:
            faiss.cvar.distance_compute_blas_threshold = ours

    return search


def torch_topk(vectors: Vectors) -> Search:
    import torch

    matrix = torch.from_numpy(vectors)
    return lambda queries: torch.topk(torch.from_numpy(queries) @ matrix.T, K)[1].numpy()


def sklearn_brute(vectors: Vectors) -> Search:
    from sklearn.neighbors import NearestNeighbors

    # On unit vectors the Euclidean order is the cosine order, and it has the quick path.
    model = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(vectors)
    return lambda queries: model.kneighbors(queries, return_distance=False)


def usearch_exact(vectors: Vectors) -> Search:
    from usearch.index import MetricKind, search

    return lambda queries: search(vectors, queries, K, MetricKind.IP, exact=True).keys


def faiss_hnsw(vectors: Vectors) -> Search:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 64
    index.add(vectors)
    index.hnsw.efSearch = 128
    return lambda queries: index.search(queries, K)[1]


def hnswlib_index(vectors: Vectors) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=64)
    index.add_items(vectors)
    index.set_ef(128)
    return lambda queries: index.knn_query(queries, K)[0]


def chroma(vectors: Vectors) -> Search:
    import chromadb

    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    made = client.create_collection("bench", metadata={"hnsw:space": "ip"})
    for start in range(0, len(vectors), 5000):
        part = vectors[start : start + 5000]
        made.add(ids=[str(start + i) for i in range(len(part))], embeddings=part)

    def search(queries: Vectors) -> Any:
        found = made.query(query_embeddings=queries, n_results=K, include=[])
        return np.asarray([[int(id_) for id_ in row] for row in found["ids"]])

    return search


def lance(vectors: Vectors, folder: Path, indexed: bool) -> Search:
    import lancedb
    import pyarrow as pa

    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    rows = pa.table({"row": np.arange(len(vectors)), "vector": values})
    made = lancedb.connect(folder / str(indexed)).create_table("bench", rows)
    if indexed:
        made.create_index("vector", config=lancedb.index.IvfFlat(distance_type="dot"))

    def search(queries: Vectors) -> Any:
        found = []
        for query in queries:
            asked = made.search(query).distance_type("dot").select(["row", "_distance"]).limit(K)
            if not indexed:
                asked = asked.bypass_vector_index()
            found.append(asked.to_arrow()["row"].to_numpy())
        return np.asarray(found)

    return search


def all_of(
    vectors: Vectors, folder: Path, slow_too: bool
) -> Iterator[tuple[str, Search | str, float]]:
    """Each peer's name with its search, or why there is none, and seconds to make it."""
    makers: dict[str, Callable[[], Search]] = {
        "numpy matmul + argpartition": lambda: numpy_matmul(vectors),
        "FAISS IndexFlatIP as shipped": lambda: faiss_flat(vectors),
        "torch matmul + topk": lambda: torch_topk(vectors),
        "scikit-learn brute force": lambda: sklearn_brute(vectors),
        "usearch exact": lambda: usearch_exact(vectors),
        LANCE_FLAT: lambda: lance(vectors, folder, False),
        "LanceDB IVF_FLAT, approximate": lambda: lance(vectors, folder, True),
        "FAISS HNSW16 ef 128, approximate": lambda: faiss_hnsw(vectors),
    }
    if slow_too:
        makers["hnswlib M 16 ef 128, approximate"] = lambda: hnswlib_index(vectors)
        makers["Chroma, approximate"] = lambda: chroma(vectors)
    for name, make in makers.items():
        begin = time.perf_counter()
        try:
            made: Search | str = make()
        except ImportError as error:
            made = f"not installed ({error.name}); make peers"
        yield name, made, time.perf_counter() - begin
