"""DICOM films: pixels, and the few values of a header that may be stored.

In: the bytes of one DICOM file. Out: 8-bit pixels, age, sex, view and dates under the allow-list of
``header.py``.
May import nothing else of ``ingest`` but ``metadata``. Begin at ``read.py``.
"""
