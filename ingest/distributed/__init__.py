"""The ingestion job on a Ray cluster.

In: the images that a plan left to encode. Out: their rows, in the order of the source.
Imports Ray, and is imported by none but the command line. Begin at ``stage.py``.
"""
