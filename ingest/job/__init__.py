"""The ingestion job: plan, decode, encode, commit, report.

In: a source, an encoder and a gallery. Out: rows in the gallery, a journal beside it, an
``IngestReport``.
May import ``ingest.images`` and ``ingest.sources``. Begin at ``run.py``.
"""
