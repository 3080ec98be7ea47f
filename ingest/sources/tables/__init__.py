"""Tables of labels and metadata beside films.

In: CSV and other tables in any encoding and layout. Out: for each film its row, as typed columns
and findings.
May import nothing else of ``ingest.sources``. Begin at ``columns.py``.
"""
