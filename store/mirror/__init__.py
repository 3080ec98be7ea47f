"""The FAISS mirror: one version of the table in memory.

In: a pinned table. Out: an immutable ``Snapshot`` with an ``IndexFlatIP``, kept up to date and
saved on disk.
May import ``store.table``. Begin at ``snapshot.py``.
"""
