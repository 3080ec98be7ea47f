"""Headings of metadata: columns about an image, a patient or a file, never a finding."""

from __future__ import annotations

import re

#: One of these words makes a heading one of metadata.
_WORDS = {
    # the patient
    *("age", "sex", "gender", "male", "female", "patient", "patients", "subject", "person"),
    *("birth", "dob", "race", "ethnicity", "insurance", "language", "marital", "bmi", "weight"),
    *("inpatient", "outpatient", "pediatric", "paediatric", "smoker", "smoking"),
    # the place, the study, the file
    *("ward", "hospital", "site", "department", "centre", "center", "institution", "study"),
    *("studies", "series", "accession", "acquisition", "instance", "exam", "visit", "id", "ids"),
    *("uid", "uuid", "guid", "idx", "index", "unnamed", "row", "rows"),
    *("file", "filename", "filepath", "path", "url", "image", "images", "dicom", "sha256", "md5"),
    *("date", "time", "year", "month", "day", "followup", "order", "number", "count", "num", "nr"),
    # the picture
    *("view", "projection", "portable", "orientation", "width"),
    *("height", "spacing", "pixel", "pixels", "bits", "resolution", "scanner", "modality"),
    *("manufacturer", "photometric", "exposure", "rotation", "xmin", "xmax", "ymin", "ymax"),
    *("bbox", "box", "boxes", "quality", "duplicate", "duplicates"),
    # how the set was made
    *("split", "subset", "partition", "train", "training", "val", "valid", "validation", "test"),
    *("testing", "dev", "fold", "folds", "kfold", "batch", "source", "dataset", "reader", "rad"),
    *("radiologist", "annotator", "labeler", "labeller", "confidence", "score", "seed", "exclude"),
    *("excluded", "include", "included"),
}
#: Headings that are these and nothing else.
_WHOLE = {
    *("set", "no", "n", "x", "y", "w", "h", "z", "x min", "x max", "y min", "y max", "x 1", "x 2"),
    *("y 1", "y 2", "follow up", "device", "report", "reports", "text", "notes", "comment"),
    *("comments", "name", "position", "flag", "use", "keep", "offset", "unit", "icu", "columns"),
    *("ap", "pa", "ap pa", "frontal", "lateral", "frontal lateral", "is ap", "is pa", "size"),
    *("is frontal", "is lateral"),
}
#: Findings whose names hold a word from above.
_FINDINGS = re.compile(r"skin folds?|.*\bheight loss|loss of height.*", re.ASCII)


def words(heading: str) -> list[str]:
    """The words and numbers of a heading: ``ViewPosition_2`` is view, position, 2."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", heading)
    return re.findall(r"[^\W\d_]+|\d+", spaced.casefold())


def is_metadata(heading: str) -> bool:
    """Whether a heading names no finding, whatever its column holds."""
    found = words(heading)
    whole = " ".join(found)
    if _FINDINGS.fullmatch(whole):
        return False
    if all(word.isdigit() for word in found) or whole in _WHOLE:
        return True
    if re.fullmatch(r"column \d+", whole) or whole.startswith("follow up"):
        return True
    return "".join(found) in _WORDS or not _WORDS.isdisjoint(found)
