"""Published data sets, a file a set.

In: the folder or file as its publisher packs it. Out: a ``Source`` of films with labels, split and
patient.
May import ``ingest.sources.tables`` and ``ingest.images``. Begin at ``chexpert.py``; a new set is a
file beside it.
"""
