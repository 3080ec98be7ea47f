"""Data sets in the forms of the hub's ``datasets``: tables of Arrow, shards of Parquet, folders.

In: a file or folder, what its columns are. Out: a Source, or columns of metadata and labels, which
``ingest.artefacts`` reads of vectors made elsewhere too. Begin with ``films.py``.
"""
