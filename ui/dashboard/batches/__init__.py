"""The batches page's work: films dropped, ingested in a process of their own, undone.

In: uploaded files or a path. Out: jobs in a queue and their outcome. Begin at ``form.py``.
"""
