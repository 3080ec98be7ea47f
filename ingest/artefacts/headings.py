"""Headings by which columns and arrays of vectors made elsewhere are known."""

from __future__ import annotations

#: Of vectors, by ``plain``; the first is what arrays without a name are called.
VECTORS = (
    *("embedding", "embeddings", "vector", "vectors", "features", "feature", "emb", "embeds"),
    *("imageembedding", "imageembeddings", "imageembeds", "imgemb", "imagefeatures"),
    *("pooleroutput", "imagevector"),
)
#: Of ids. A column that has one of these must hold an id in every row, and no two the same.
IDS = ("id", "ids", "imageid", "image", "name", "imageindex")
#: Of files and keys: ids where every row has one of its own.
FILES = (
    *("imagepath", "path", "paths", "filepath", "filename", "file", "files", "filenames"),
    *("key", "keys", "imagename", "uid", "dicomid", "sopinstanceuid", "url"),
)
#: Of labels, the first that is there counts.
LABELLED = (
    *("labels", "label", "findinglabels", "findings", "finding", "classname", "class"),
    *("diagnosis", "category", "target"),
)
#: Of columns of a row, beside their own names.
OTHERS = {
    "patient": ("patientid", "subjectid", "subject"),
    "study": ("studyid", "studyinstanceuid", "studyuid", "accession", "accessionnumber"),
}
#: Keys under which a field, a schema or an npz file may name its classes.
CLASS_NAMES = ("names", "label_names", "class_names", "classes", "cxr.label_names")


def plain(heading: str) -> str:
    """Letters and digits of a heading, in small letters."""
    return "".join(char for char in heading.casefold() if char.isalnum())
