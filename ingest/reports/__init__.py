"""Reports of radiologists on their way in: made of columns or sections, searched for personal data.

In: cells of tables, text files of studies. Out: one text a study, and what in all of them looks
like a name, a date or a number of a patient.
May import ``ingest.images``. Begin at ``personal.py``.
"""
