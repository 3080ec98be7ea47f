"""What is said before the hits: a sentence that is not understood, an image that is like none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest import Understanding
    from store import Gallery, Nearness, Vectors


def nearness_of(gallery: Gallery, vectors: Vectors, thumbnail: bytes) -> Nearness:
    """How near one image is to a gallery, by its vector and as a picture."""
    from ingest import pixel_vectors

    return gallery.nearness(vectors, [thumbnail], pixel_vectors)[0]


def of_text(found: Understanding) -> str | None:
    """A warning, when the encoder has no grounds to understand a sentence."""
    if found.understood is not False:
        return None
    return f"not understood: {found.reason}. The hits are no answer to it"


def of_image(found: Nearness) -> str | None:
    """A warning, when an image is unlike the gallery."""
    if not found.unlike:
        return None
    kind = "by its vector" if found.picture_percentile is None else "as a picture"
    return (
        f"no good match: {kind} this image is less like any film here than 99 of 100 films are "
        "like their nearest; it may not be a chest film"
    )


def how_near(found: Nearness) -> str:
    """One sentence for every image query."""
    parts = [f"nearest cosine {found.cosine:.4f} (percentile {found.percentile:.0f})"]
    if found.picture_cosine is not None and found.picture_percentile is not None:
        parts.append(
            f"nearest picture {found.picture_cosine:.3f} (percentile "
            f"{found.picture_percentile:.0f})"
        )
    return (
        f"{'; '.join(parts)}; percentiles are among the nearest of the gallery's own "
        f"{found.rows:,} films, each without itself"
    )
