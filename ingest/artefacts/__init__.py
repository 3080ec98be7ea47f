"""Folders of embeddings: read, checked, imported and written.

In: a folder of ``npy``, ``parquet``, ``safetensors``, CSV or JSON files, or one Parquet or Arrow
table.
Out: rows for a gallery; ``write`` makes the same layout from a gallery.
May import ``ingest.sources.tables``, ``ingest.record`` and ``store``. Begin at ``folder.py``.
"""
