"""The report in markdown: what the system is, how good it is, where it fails, what it is not.

Every number comes from an Evaluation, from the gallery's rows, or from a search; none is written
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ui.report.credit import credit_of, how_made, limits
from ui.report.findings import DEPTH, HARDEST, SEED
from ui.report.markdown import code, plain
from ui.report.usage import usage

if TYPE_CHECKING:
    from store import EncoderStamp, Evaluation
    from ui.report.findings import Duplicates, Found, LabelFindings, Prompted, Setting

NAME = "task3 retrieval system.md"

_MEANING = {
    "leave-one-out": "every query searches the set it is in; the query itself is removed by its "
    "id, wherever it ranks",
    "split": "the queries search another split, which none of them is in",
}


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Everything that the report says.

    Attributes:
        store: `Gallery.describe`.
        stamp: of the encoder.
        text_tower: whether the encoder understands text; None when it was not loaded.
        facets: `Gallery.facets`.
        sizes: distinct (width, height) of the images, in pixels.
        setting: which rows ask which, in examples and failures.
        evaluations: one per protocol; none without labels.
        left_out: sentences about what could not be measured.
        findings: per label, examples and failures.
        prompts: sentences and what they found.
        duplicates: equal images.
        example: the id of some row.
        patients_known: whether any row names its patient.
        pictures: key (see `ui.report.export`) to relative path.
        command: that made the report.
        notice: the loud line for synthetic images.
    """

    store: dict[str, Any]
    stamp: EncoderStamp
    text_tower: bool | None
    facets: Mapping[str, Mapping[str, int]]
    sizes: Sequence[tuple[int, int]]
    setting: Setting
    evaluations: Sequence[Evaluation]
    left_out: Sequence[str]
    findings: Sequence[LabelFindings]
    prompts: Sequence[Prompted]
    duplicates: Duplicates
    example: str
    patients_known: bool
    pictures: Mapping[str, str]
    command: str
    notice: str | None


def report(facts: Facts) -> str:
    """Write the report.

    Returns:
        Markdown; pictures are linked relative to the report's own folder.
    """
    parts = [
        "# task3 retrieval system",
        f"> **{facts.notice}**" if facts.notice else "",
        _opening(facts),
        "## Precision@k",
        *_precision(facts),
        "## Model",
        _model(facts),
        "## Index",
        _index(facts),
        "## Usage",
        usage(facts),
        "## What it finds",
        *_examples(facts),
        "## Failure cases",
        *_failures(facts),
        "## Limits",
        *limits(facts),
        "## Licence and data credit",
        *credit_of(facts.facets["dataset"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(facts: Facts) -> str:
    counts = facts.facets["split"]
    order = [name for name in ("train", "val", "test") if name in counts]
    order += [name for name in counts if name not in order]
    splits = ", ".join(f"{plain(name)} {counts[name]:,}" for name in order)
    labels = ", ".join(f"{plain(name)} {count:,}" for name, count in facts.facets["labels"].items())
    lines = [
        "Content-based retrieval of chest radiographs: given an image or a sentence, the most "
        "similar images by exact cosine, with their labels. "
        "**Research and education only, not for diagnosis.**",
        "",
        "| | |",
        "|---|---|",
        f"| images | {facts.store['rows']:,} |",
        f"| data set | {plain(', '.join(facts.facets['dataset'])) or 'not named'} |",
        f"| splits | {splits or 'none'} |",
        f"| labels | {labels or 'none'} |",
        f"| table version | {facts.store['table_version']} |",
        f"| made by | {code(facts.command)} |",
    ]
    return "\n".join(lines)


def _precision(facts: Facts) -> list[str]:
    parts = [
        "Share of the first k hits that carry a label of the query, averaged over queries. "
        "Intervals are 95 % bootstrap percentiles over queries. *Raw pixels* is the cosine of "
        "mean-centred grey pixels, *random* the share to expect when hits are drawn blindly: an "
        "encoder that does not clearly beat both has shown no medical meaning."
    ]
    for evaluation in facts.evaluations:
        parts.append(
            f"### {evaluation.protocol}: {evaluation.queries:,} queries, "
            f"gallery of {evaluation.gallery:,}"
        )
        parts.append(f"Protocol: {_MEANING.get(evaluation.protocol, evaluation.protocol)}.")
        parts.append(_table(evaluation, facts.stamp.name))
        parts.append(_verdict(evaluation))
    if "precision" in facts.pictures:
        parts.append(_picture(facts, "precision", "Precision@k of each protocol beside its floors"))
    parts += [f"Not measured: {plain(sentence)}" for sentence in facts.left_out]
    return parts


def _table(evaluation: Evaluation, encoder: str) -> str:
    depths = [*evaluation.precision]

    def row(name: str, values: Mapping[int, float], last: float | None = None) -> str:
        cells = [f"{values[k]:.4f}" if k in values else "-" for k in depths]
        end = "" if last is None or isnan(last) else f"{last:.4f}"
        return f"| {name} | {' | '.join(cells)} | {end} |"

    intervals = [evaluation.ci95.get(k) for k in depths]
    shown = [f"{pair[0]:.4f} to {pair[1]:.4f}" if pair else "-" for pair in intervals]
    lines = [
        f"| | {' | '.join(f'P@{k}' for k in depths)} | mAP |",
        f"|---|{'---|' * (len(depths) + 1)}",
        row(f"**{plain(encoder)}**", evaluation.precision, evaluation.map),
        f"| 95 % interval | {' | '.join(shown)} | |",
    ]
    for name, found in evaluation.per_label.items():
        lines.append(
            row(f"queries labelled {plain(name)} ({found['queries']:,})", found["precision"])
        )
    for name, floor in evaluation.baselines.items():
        lines.append(row(name.replace("_", " "), floor["precision"], floor.get("map")))
    if evaluation.vote:
        lines.append(row("majority vote of the first k is right", evaluation.vote))
    lines.append(row("hit rate: one or more of the first k", evaluation.hit_rate))
    return "\n".join(lines)


def _verdict(evaluation: Evaluation) -> str:
    """How the encoder stands to raw pixels, whichever way it went."""
    floor = evaluation.baselines.get("raw_pixels")
    if floor is None:
        return "Raw pixels were not measured: not every row has a picture."
    gains = {k: value - floor["precision"][k] for k, value in evaluation.precision.items()}
    low, high = min(gains.values()), max(gains.values())
    if low > 0:
        return f"Above raw pixels at every k, by {low:.4f} to {high:.4f}."
    not_above = ", ".join(str(k) for k, gain in gains.items() if gain <= 0)
    return f"**Not above raw pixels at k = {not_above}** (difference {low:+.4f} to {high:+.4f})."


def _model(facts: Facts) -> str:
    tower = {True: "yes", False: "no, images only", None: "not asked: it was not loaded"}
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| encoder | {code(facts.stamp.name)} |",
            f"| fingerprint (SHA-256 of weights, configuration, preprocessing, tokenizer) "
            f"| {code(facts.stamp.fingerprint)} |",
            f"| vectors | float32, {facts.stamp.dimension} dimensions, unit length |",
            f"| text tower | {tower[facts.text_tower]} |",
            "",
            how_made(facts.stamp),
        ]
    )


def _index(facts: Facts) -> str:
    return (
        "The truth is a LanceDB table; a FAISS `IndexFlatIP` mirrors it and does the search. "
        "Vectors have unit length, so the inner product is the exact cosine: nothing is "
        "approximated, equal scores rank by id, and filters apply before the search. "
        "`faiss_index.bin` beside this report is that index over the rows of `embeddings.npy`, "
        "in the order of `ids.txt` (data set, split, index); `labels.npy` holds the label numbers, "
        f"and `meta.json` says what they mean. This is version {facts.store['table_version']} of "
        f"the table, with {facts.store['rows']:,} rows."
    )


def _examples(facts: Facts) -> list[str]:
    parts = []
    if facts.findings:
        parts.append(
            f"Setting: {facts.setting.name}. Per label one query with a right and one with a wrong "
            f"nearest neighbour, drawn at random (seed {SEED}), not picked. A tick and a solid "
            "frame: shares a label with the query; a cross and a dashed frame: does not."
        )
    for found in facts.findings:
        for kind, example in (("right", found.right_example), ("wrong", found.wrong_example)):
            if example is not None:
                about = f"Query {example.query.id}, {found.label}, nearest neighbour {kind}: "
                about += f"{example.right} of {len(example.hits)} hits share a label"
                parts.append(_picture(facts, f"{kind}:{found.label}", about))
    parts.append("### By sentence")
    if not facts.prompts:
        why = "the encoder understands images only" if facts.text_tower is False else ""
        parts.append(f"No text queries: {why or 'no encoder was given to this export'}.")
        return parts
    lines = ["| sentence | wanted | right | cosines |", "|---|---|---|---|"]
    for one in facts.prompts:
        right = f"{one.right} of {len(one.hits)}" if one.wanted else "nobody said what is wanted"
        scores = f"{one.hits[-1].score:.3f} to {one.hits[0].score:.3f}" if one.hits else "-"
        wanted = plain(", ".join(one.wanted)) or "-"
        lines.append(f"| {plain(one.text)} | {wanted} | {right} | {scores} |")
    parts.append("\n".join(lines))
    parts.append("Cosines of sentences and of images live on different scales: never compare them.")
    return parts + [
        _picture(facts, f"text:{one.text}", f"Nearest to the sentence “{one.text}”")
        for one in facts.prompts
    ]


def _failures(facts: Facts) -> list[str]:
    if not facts.findings:
        return ["Without labels nobody can say what is a failure."]
    parts = [
        f"Setting: {facts.setting.name}; the first {DEPTH} hits. Hardest are the queries whose "
        "nearest neighbour is wrong and of whose hits fewest share a label; of equal ones, those "
        f"with the most similar wrong neighbour. Up to {HARDEST} per label."
    ]
    for found in facts.findings:
        parts.append(f"### {plain(found.label)}")
        sampled = f", a sample of {found.of:,}" if found.of > found.queries else ""
        parts.append(
            f"{found.wrong:,} of {found.queries:,} queries labelled {plain(found.label)}{sampled} "
            "have a wrong nearest neighbour."
        )
        if found.hardest:
            parts.append("\n".join(map(_failure, found.hardest)))
            parts.append(_picture(facts, f"hardest:{found.label}", f"Hardest: {found.label}"))
    return parts


def _failure(one: Found) -> str:
    nearest = one.hits[0]
    return (
        f"- {code(one.query.id)}: nearest is {code(nearest.row.id)} "
        f"({plain(', '.join(nearest.row.labels))}, cosine {nearest.score:.3f}); "
        f"{one.right} of {len(one.hits)} share a label"
    )


def _picture(facts: Facts, key: str, about: str) -> str:
    path = facts.pictures.get(key)
    return f"![{plain(about)}]({quote(path)})" if path else ""
