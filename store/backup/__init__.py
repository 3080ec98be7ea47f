"""Backup of a gallery: one file with every table and the notes beside them, and the way back.

Enters: the place of a gallery, or a backup. Leaves: a backup, or a gallery at a new place. Begin
with ``back_up.py``. Knows tables and files; neither searches nor images.
"""
