"""Adaptation: a small map, learnt from the labels of a gallery, on the vectors of any encoder.

In: a gallery's stored vectors and labels; no film is opened. Out: an encoder folder that refers to
its base, and what the map gains. May import encoders and the store. Begin at ``adapt.py``.
"""
