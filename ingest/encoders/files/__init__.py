"""Files of an encoder: their bytes, read once, and what was found in them.

In: a folder. Out: contents, fingerprints, safetensors in place of pickles.
Begin reading at found.py.
"""
