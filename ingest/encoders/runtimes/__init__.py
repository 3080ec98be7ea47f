"""Runtimes: loaded models, one module for each library that builds them.

In: the checked files of an encoder (``ingest.encoders.locate``). Out: features of images and texts.
Begin reading at base.py.
"""
