"""Originals: the file behind a row, read on demand at its full size and depth.

In: a gallery and an id. Out: an Original, or OriginalUnavailable with its reason. Nothing is read
but a row's own source below a folder that this gallery ingested, and nothing is handed out whose
bytes are not those that were ingested. Begin at ``reading.py``.
"""
