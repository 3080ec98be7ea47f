"""Image files to pixels.

In: the bytes of one file. Out: 8-bit pixels, a thumbnail, a digest, or an error that says what the
file is.
May import ``ingest.images.dicom.read`` and no source. Begin at ``decode.py``.
"""
