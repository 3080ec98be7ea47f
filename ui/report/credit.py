"""What the report owes: how the encoder was made, what nobody should conclude, who is to thank."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store import EncoderStamp
    from ui.report.text import Facts

_MEDMNIST = (
    "Yang, J. et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
    "image classification. Scientific Data 10, 41 (2023). doi:10.1038/s41597-022-01721-8"
)
_KERMANY = (
    "Kermany, D. S. et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based "
    "Deep Learning. Cell 172, 1122-1131 (2018). doi:10.1016/j.cell.2018.02.010"
)


def made_here(stamp: EncoderStamp) -> bool:
    """Whether this very encoder, by fingerprint, is the one bundled with the package."""
    from ingest.encoders import DEFAULT_ENCODER, load_encoder
    from store import EncoderUnavailable

    try:
        return load_encoder(DEFAULT_ENCODER).fingerprint == stamp.fingerprint
    except EncoderUnavailable:
        return False


def how_made(stamp: EncoderStamp) -> str:
    """A paragraph on where an encoder comes from."""
    if made_here(stamp):
        return (
            "It ships with the package: a small CLIP (image and text tower) that `cxr train` made "
            "from the training split of PneumoniaMNIST alone, with sentences written from the two "
            f"labels. Its model card is `ingest/encoders/{stamp.name}/README.md`."
        )
    if stamp.name.startswith("external:"):
        return "The vectors were imported, and their makers did not say which encoder made them."
    return (
        "It does not ship with the package: how it was made is told by whoever published it. The "
        "fingerprint says which files were used."
    )


def limits(facts: Facts) -> list[str]:
    """Bullet points on what the numbers cannot show."""
    sizes = ", ".join(f"{width} x {height}" for width, height in facts.sizes[:3])
    if len(facts.sizes) > 3:
        sizes = f"{len(facts.sizes)} sizes from {min(facts.sizes)[0]} pixels wide"
    points = ["Research and education only, not for diagnosis."]
    if sizes:
        point = f"The images are {sizes} pixels."
        if max(max(size) for size in facts.sizes) <= 64:
            point += " Most signs that a radiologist looks for cannot be seen at that size."
        points.append(point)
    if facts.facets["labels"]:
        points.append(
            f"{len(facts.facets['labels'])} labels: Precision@k measures whether neighbours belong "
            "to the same class. Two films of one class may differ in everything that matters "
            "clinically, so this is not clinical equivalence."
        )
    points.append(_text_limits(facts))
    same = facts.duplicates
    what = "image" if facts.sizes else "vector"
    if same.extra:
        points.append(
            f"{same.extra:,} rows repeat the {what} of another row byte for byte; {same.across:,} "
            f"groups of equal {what}s reach over several splits and {same.conflicting:,} carry "
            "different labels. They are kept, as the data set has them; a query never finds "
            "itself, but it may find its copy."
        )
    else:
        points.append(f"No two rows hold the same {what} byte for byte.")
    if facts.patients_known:
        points.append("A neighbour may be another film of the same patient; it is not removed.")
    elif facts.notice is None:
        points.append("Patients are not known here: a neighbour may show the same patient again.")
    points.append("Intervals cover the choice of queries, not the choice of training data.")
    return ["\n".join(f"- {point}" for point in points)]


def _text_limits(facts: Facts) -> str:
    if facts.text_tower is False:
        return "The encoder understands images only; nothing is said about text."
    if made_here(facts.stamp):
        return (
            "The text tower learned from sentences about two labels. It tells words of normal "
            "films from words of pneumonia; it does not understand reports, negation beyond its "
            "sentences, or other findings. An unknown word changes the result without meaning."
        )
    return "How far a sentence can be trusted depends on the texts that the encoder was trained on."


def credit_of(datasets: Collection[str]) -> list[str]:
    """Whose images these are, and under which licence."""
    from ingest.sources import synthetic
    from ingest.sources.published import medmnist
    from store import UsageError

    lines = ["The software is licensed under Apache-2.0. The images are not part of it:"]
    bullets = []
    for name in datasets:
        if name == synthetic.DATASET:
            bullets.append(f"- `{name}`: {synthetic.SYNTHETIC_NOTICE} {synthetic.CREDIT}")
            continue
        try:
            licence = medmnist.info(name)["license"]
        except UsageError:
            bullets.append(f"- `{name}`: ask its provider for licence and citation.")
            continue
        bullets.append(f"- `{name}`: {licence}. {_MEDMNIST}")
        if name == "pneumoniamnist":
            bullets.append(f"- `{name}` is made from: {_KERMANY}")
    return [*lines, "\n".join(bullets) or "- the data sets were not named."]
