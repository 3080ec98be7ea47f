"""Adapted encoders: a reference to a base encoder, and a map on its vectors.

In: a folder that ``cxr adapt`` wrote. Out: its reference and its map, checked; nothing is loaded of
the base. Begin at ``files.py``.
"""
