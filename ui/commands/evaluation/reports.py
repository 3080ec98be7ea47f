"""``cxr evaluate --queries reports``: words, vectors and both by the reports of films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from store import EncoderMismatch, EncoderUnavailable
from ui.commands import output
from ui.tables import NOT_RANKED

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Gallery, ReportEvaluation, SamePatient

#: Ways to search by a report, for a person.
_WAYS = {
    "words": "words (BM25)",
    "text": "vector of the text",
    "picture": "vector of the picture",
    "words+text": "words and text, fused",
    "words+picture": "words and picture, fused",
}


def report_ways(found: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Tables of an evaluation with reports as queries: ways, their differences, own reports.

    Args:
        found: the evaluation as plain JSON types.
    """
    depths = list(found["ways"]["words"]["precision"])

    def cells(one: Mapping[str, Any], key: str, sign: str) -> list[str]:
        bounds = one["ci95" if key == "precision" else f"{key}_ci95"]
        return [f"{one[key][k]:{sign}.3f}{_between(bounds[k], sign)}" for k in depths]

    sheets = []
    for key, title in (("precision", "P@"), ("ndcg", "nDCG@")):
        head = ["reports as queries", *(f"{title}{k}" for k in depths)]
        rows = [[_WAYS[name], *cells(one, key, "")] for name, one in found["ways"].items()]
        rows += [
            [f"  {one['hybrid']} less {one['half']}", *cells(one, key, "+")]
            for one in found["gaps"]
        ]
        sheets.append((head, rows))
    if own := found["own_report"]:
        recall = [f"{one:.3f}{_between(own['ci95'][k], '')}" for k, one in own["recall"].items()]
        chance = [f"{one:.3f}" for one in own["chance"].values()]
        head = ["films to their own report", *(f"R@{k}" for k in own["recall"])]
        sheets.append((head, [["its picture's vector", *recall], ["chance", *chance]]))
    return sheets


def _between(bounds: Sequence[float | None], sign: str) -> str:
    if None in bounds:
        return ""
    return f" [{bounds[0]:{sign}.3f}, {bounds[1]:{sign}.3f}]"


def report_definitions(found: Mapping[str, Any]) -> list[str]:
    """Sentences that define the figures of report_ways, and count what took no part in them."""
    relevance, over = found["relevance"], found["interval"]
    drawn = f", drawn of {found['sampled']:,}" if found["sampled"] else ""
    said = [
        f"{found['queries']:,} reports asked{drawn}; {found['gallery']:,} labelled films with a "
        "report were searched",
        f"Relevance {relevance['name']}: {relevance['definition']}",
        f"{NOT_RANKED[found['excluded']][0].upper()}{NOT_RANKED[found['excluded']][1:]}",
        f"95 % intervals, of differences paired: {over['method']}, over {over['units']:,} "
        f"{over['over']}",
    ]
    if own := found["own_report"]:
        said.append(
            f"{own['films']:,} films looked for their own text among {own['reports']:,} different "
            "reports"
        )
    for gap in found["gaps"]:
        if gap["better"]:
            at = f" at k = {', '.join(map(str, gap['worse']))}"
            said.append(
                f"{_WAYS[gap['hybrid']].capitalize()}: {'' if gap['worse'] else 'not '}worse than "
                f"the better half ({gap['half']}) by more than the interval"
                f"{at if gap['worse'] else ''}"
            )
    left_out = ((reason, count) for reason, count in found["left_out"].items() if count)
    return [*said, *(f"Films left out, {reason}: {count:,}" for reason, count in left_out)]


def measure_reports(
    gallery: Gallery,
    encoder: Encoder | None,
    split: str | None = None,
    dataset: str | None = None,
    k: Sequence[int] = (1, 3, 5, 10),
    relevance: str = "any",
    same_patient: SamePatient = "exclude",
    most: int = 1000,
    fusion: str = "rrf",
) -> ReportEvaluation:
    """Evaluation with reports as queries, of the split test where there is one.

    Args:
        gallery: with reports.
        encoder: the one that made it, with a text tower; None measures words alone.
        split: of queries and gallery; ``all`` for all.
        dataset: only films of this data set.
        k: depths.
        relevance: any, all, jaccard or finding=NAME.
        same_patient: whether films of the query's own patient are left out.
        most: queries at most.
        fusion: of words and vectors, as ``--fusion`` takes it.
    """
    from ingest.encoders import text_vectors
    from store import evaluate_reports, parse_fusion

    if split is None:
        split = "test" if "test" in gallery.facets()["split"] else "all"
    return evaluate_reports(
        gallery,
        None if encoder is None else partial(text_vectors, encoder),
        k,
        split=None if split == "all" else split,
        dataset=dataset,
        same_patient=same_patient,
        relevance=relevance,
        most=most,
        fusion=parse_fusion(fusion),
    )


def text_encoder(gallery: Gallery, name: str | None, device: str | None) -> Encoder | None:
    """The encoder asked for, or the gallery's; None with a warning where it reads no texts."""
    from ingest.encoders import encoder_for

    try:
        model = encoder_for(gallery, name, device=device)
    except (EncoderMismatch, EncoderUnavailable) as error:
        if name is not None:
            raise
        output.warn(f"words alone are measured: {error}")
        return None
    if model.supports_text:
        return model
    output.warn(f"words alone are measured: encoder {model.name} reads no texts")
    return None


def print_reports(found: ReportEvaluation) -> None:
    """Print the ways to search by a report, their differences, and films to their own report."""
    document = found.as_dict()
    sheet = report_ways(document)
    for head, rows in sheet:
        output.table(head, rows, numbers=len(head) - 1)
    for line in report_definitions(document):
        typer.echo(f"{line}.")
