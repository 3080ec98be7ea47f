"""The figures of an export, as PNG bytes under the names they get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ui.report.findings import slugs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from store import Evaluation, Gallery
    from ui.report.findings import Found, LabelFindings, Prompted, Setting

FOLDER = "retrieval_figures"


def pictures(
    gallery: Gallery,
    setting: Setting,
    found: Sequence[LabelFindings],
    prompts: Sequence[Prompted],
    evaluations: Sequence[Evaluation],
) -> dict[str, tuple[str, bytes]]:
    """Draw everything that the report shows.

    Returns:
        Key (``precision``, ``right:LABEL``, ``wrong:LABEL``, ``hardest:LABEL``, ``text:SENTENCE``)
        to relative path and PNG bytes.
    """
    from ui.report import figures

    origin = figures.provenance_of(gallery, setting.name)
    shown = [one for label in found for one in _shown(label)]
    ids = {one.query.id for one in shown}
    hits = [one.hits for one in shown] + [one.hits for one in prompts]
    ids |= {hit.row.id for some in hits for hit in some}
    thumbnails = gallery.thumbnails(sorted(ids))
    drawn: dict[str, tuple[str, bytes]] = {}

    def add(key: str, name: str, figure: Figure, about: str) -> None:
        png = figures.png_bytes(figure, f"{about}. {origin.footer}")
        drawn[key] = (f"{FOLDER}/{name}.png", png)

    def query(one: Found) -> figures.Query:
        row = one.query
        return figures.Query(image=thumbnails[row.id], labels=row.labels, name=row.id)

    if evaluations:
        measured = figures.provenance_of(gallery, " and ".join(e.protocol for e in evaluations))
        chart = figures.precision_figure(evaluations, measured, name=gallery.stamp.name)
        add("precision", "precision_at_k", chart, "Precision@k")
    names = slugs([one.label for one in found])
    for label in found:
        name = names[label.label]
        for kind, one in (("right", label.right_example), ("wrong", label.wrong_example)):
            if one is not None:
                figure = figures.retrieval_figure(query(one), one.hits, thumbnails, origin)
                add(
                    f"{kind}:{label.label}", f"image_{name}_{kind}", figure, f"Query {one.query.id}"
                )
        if label.hardest:
            title = f"Hardest queries labelled {label.label}"
            cases = [figures.Case(query(one), one.hits) for one in label.hardest]
            figure = figures.cases_figure(title, cases, thumbnails, origin)
            add(f"hardest:{label.label}", f"hardest_{name}", figure, title)
    names = slugs([one.text for one in prompts])
    searched = figures.provenance_of(gallery, f"{setting.split or 'all'} images searched")
    for asked in prompts:
        sentence = figures.Query(text=asked.text, labels=asked.wanted)
        figure = figures.retrieval_figure(sentence, asked.hits, thumbnails, searched)
        add(f"text:{asked.text}", f"text_{names[asked.text]}", figure, f"Sentence: {asked.text}")
    return drawn


def _shown(label: LabelFindings) -> list[Found]:
    examples = (label.right_example, label.wrong_example, *label.hardest)
    return [one for one in examples if one is not None]
