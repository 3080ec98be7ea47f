"""Text of the report in markdown: system, Precision@k, examples, failures, limits, credit.

Every number comes from an Evaluation, from the gallery's rows, or from a search; none is written
here.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from store import OUTCOMES, counted
from ui import lifts
from ui.report.findings import DEPTH, HARDEST, SEED
from ui.tables import (
    by_finding,
    definitions,
    finding_table,
    in_words,
    measure_rows,
    precision_rows,
)

if TYPE_CHECKING:
    from store import EncoderStamp, Evaluation, Matches
    from ui.report.findings import Duplicates, Found, LabelFindings, Prompted, Setting
    from ui.tables import PrecisionRow

NAME = "task3 retrieval system.md"
_MEANING = {
    "leave-one-out": "every query searches the set it is in; the query itself is removed by its "
    "id, wherever it ranks",
    "split": "the queries search another split, which none of them is in",
}
#: Rows of a table of Precision@k below the encoder's, in their order.
_ROWS = {
    "label": "queries labelled {name} ({queries:,})",
    "baseline": "{name}",
    "majority vote": "majority vote of the first k is right",
    "hit rate": "hit rate: one or more of the first k",
    "measure": "{name}",
}
_MEDMNIST = (
    "Yang, J. et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
    "image classification. Scientific Data 10, 41 (2023). doi:10.1038/s41597-022-01721-8"
)
_KERMANY = (
    "Kermany, D. S. et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based "
    "Deep Learning. Cell 172, 1122-1131 (2018). doi:10.1016/j.cell.2018.02.010"
)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Facts of the report: all its figures and sentences come from here.

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
        matches: what the encoder matches by beside the finding; or why nobody can say.
        duplicates: equal images.
        example: the id of some row.
        patients_known: whether any row names its patient, or its study.
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
    matches: Matches | str
    duplicates: Duplicates
    example: str
    patients_known: bool
    pictures: Mapping[str, str]
    command: str
    notice: str | None


def report(facts: Facts) -> str:
    """Markdown of the report; pictures are linked relative to its own folder."""
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
        _usage(facts),
        "## What it finds",
        *_examples(facts),
        "## Failure cases",
        *_failures(facts),
        "## What it matches by",
        *_matched_by(facts),
        "## Limits",
        *_limits(facts),
        "## Licence and data credit",
        *_credit_of(facts.facets["dataset"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(facts: Facts) -> str:
    counts = facts.facets["split"]
    order = [name for name in ("train", "val", "test") if name in counts]
    order += [name for name in counts if name not in order]
    splits = ", ".join(f"{plain(name)} {counts[name]:,}" for name in order)
    labels = ", ".join(f"{plain(name)} {count:,}" for name, count in facts.facets["labels"].items())
    counts = facts.facets.get("outcome", {})
    outcomes = ", ".join(f"{name} {counts[name]:,}" for name in OUTCOMES if name in counts)
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
        f"| looked at | {outcomes} |",
        f"| table version | {facts.store['table_version']} |",
        f"| made by | {code(facts.command)} |",
    ]
    return "\n".join(lines)


def _precision(facts: Facts) -> list[str]:
    parts = [
        "Share of the first k hits that are relevant to the query, averaged over queries; what is "
        "relevant, what is left out and what the 95 % intervals cover stands below each table. "
        "*Raw pixels* is the cosine of mean-centred grey pixels, *random* the share to expect when "
        "hits are drawn blindly: an encoder that does not clearly beat both has shown no medical "
        "meaning."
    ]
    for evaluation in facts.evaluations:
        parts.append(
            f"### {evaluation.protocol}: {counted(evaluation.queries, 'query', 'queries')}, "
            f"gallery of {evaluation.gallery:,}"
        )
        parts.append(f"Protocol: {_MEANING.get(evaluation.protocol, evaluation.protocol)}.")
        document = evaluation.as_dict()
        parts.append(_table(document, facts.stamp.name))
        parts.append(_verdict(evaluation))
        if by_finding(document):
            parts.append(_findings(document))
        parts.append("\n".join(f"- {plain(line)}." for line in definitions(document)))
    if "precision" in facts.pictures:
        parts.append(_picture(facts, "precision", "Precision@k of each protocol beside its floors"))
    parts += [f"Not measured: {plain(sentence)}" for sentence in facts.left_out]
    return parts


def _table(document: Mapping[str, Any], encoder: str) -> str:
    depths = list(document["precision"])
    ours, *others = [*precision_rows(document), *measure_rows(document)]
    apart = by_finding(document)
    intervals = [ours.intervals.get(k) for k in depths]
    shown = [f"{pair[0]:.4f} to {pair[1]:.4f}" if pair else "-" for pair in intervals]
    lines = [
        f"| | {' | '.join(f'P@{k}' for k in depths)} | mAP |",
        f"|---|{'---|' * (len(depths) + 1)}",
        _row(f"**{plain(encoder)}**", ours, depths),
        f"| 95 % interval | {' | '.join(shown)} | |",
    ]
    for kind, name in _ROWS.items():
        lines += [
            _row(name.format(name=plain(row.name), queries=row.queries), row, depths)
            for row in others
            if row.kind == kind and not (kind == "label" and apart)
        ]
    return "\n".join(lines)


def _findings(document: Mapping[str, Any]) -> str:
    """Finding by finding: relevant is a film that has it, among whatever others."""
    head, rows = finding_table(document)
    lines = [f"| {' | '.join(['finding by finding', *head[1:]])} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(plain, row))} |" for row in rows)])


def _row(name: str, row: PrecisionRow, depths: Sequence[str]) -> str:
    share = "" if row.map is None else f"{row.map:.4f}"
    return f"| {name} | {' | '.join(row.cells(depths, 4))} | {share} |"


def _verdict(evaluation: Evaluation) -> str:
    """Difference between the encoder and raw pixels, whichever way it went."""
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
            _how_made(facts.stamp),
        ]
    )


def _how_made(stamp: EncoderStamp) -> str:
    """Paragraph on the origin of an encoder."""
    if _made_here(stamp):
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


def _made_here(stamp: EncoderStamp) -> bool:
    """Whether this very encoder, by fingerprint, is the one bundled with the package."""
    from ingest.encoders import DEFAULT_ENCODER, load_encoder
    from store import EncoderUnavailable

    try:
        return load_encoder(DEFAULT_ENCODER).fingerprint == stamp.fingerprint
    except EncoderUnavailable:
        return False


def _index(facts: Facts) -> str:
    return (
        "The truth is a LanceDB table; a FAISS `IndexFlatIP` mirrors it and does the search. "
        "Vectors have unit length, so the inner product is the exact cosine: nothing is "
        "approximated, equal scores rank by id, and filters apply before the search. "
        "`faiss_index.bin` beside this report is that index over the rows of `embeddings.npy`, "
        "in the order of `ids.txt` (data set, split, index); `labels.npy` holds the label numbers, "
        f"and `meta.json` says what they mean. This is version {facts.store['table_version']} of "
        f"the table, with {counted(facts.store['rows'], 'row')}."
    )


def _usage(facts: Facts) -> str:
    """Code blocks for this gallery: no text search where there is no text tower."""
    store = short_path(facts.store["uri"])
    example = facts.setting.queries[0] if facts.setting.queries else facts.example
    splits = facts.setting.where.split if facts.setting.where else ()
    where = "".join(f" --where split={shlex.quote(name)}" for name in splits)
    shell = [f"cxr search --store {store} --id {shlex.quote(example)} -k 5{where}"]
    if not facts.stamp.name.startswith("external:"):
        shell.append(f"cxr search --store {store} --image film.png --figure result.png")
    if facts.text_tower:
        shell.append(f'cxr search --store {store} --text "pneumonia opacity in lungs" --json')
    shell += [
        f"cxr evaluate --store {store}",
        f"cxr export task3_outputs --store {store}",
        "cxr import task3_outputs --store another_store",
    ]
    uri = short_path(facts.store["uri"], shell=False)
    python = [
        "from pathlib import Path",
        "",
        "from store import Gallery",
        "",
        f"gallery = Gallery.open(Path({uri!r}).expanduser())",
        f"for hit in gallery.search_by_id({example!r}, k=5):",
        "    print(hit.rank, round(hit.score, 3), hit.row.id, hit.row.labels)",
        'print(gallery.evaluate("leave-one-out").precision)',
    ]
    if facts.text_tower:
        python += [
            "",
            "from ingest.encoders import load_encoder",
            "",
            f"vectors = load_encoder({facts.stamp.address!r}).encode_texts(['clear lungs'])",
            "print(gallery.search(vectors, k=5)[0])",
        ]
    return "\n".join(["```bash", *shell, "```", "", "```python", *python, "```"])


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
                about += f"{example.right} of {counted(len(example.hits), 'hit')} share a label"
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
            f"{found.wrong:,} of {counted(found.queries, 'query', 'queries')} labelled "
            f"{plain(found.label)}{sampled} "
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
        f"({plain(in_words(nearest.row))}, cosine {nearest.score:.3f}); "
        f"{one.right} of {len(one.hits)} share a label"
    )


def _matched_by(facts: Facts) -> list[str]:
    """Lifts of the columns, and Precision@k across their values."""
    found = facts.matches
    if isinstance(found, str):
        return [_sentence(f"Not measured: {found}")]
    missing = lifts.absent(found)
    if not found.columns:
        return [
            _sentence(
                f"Not measured: {lifts.NO_COLUMNS} ({missing})" if missing else lifts.NO_COLUMNS
            )
        ]
    parts = [
        "Of the hits that share the finding of their query: how many times as often as chance do "
        "they share something else? *Lift* is shared / chance; *chance* is what all films of the "
        "finding have that the query could have found. 1: the encoder does not see that column.",
        "\n".join(f"- {_sentence(line)}" for line in lifts.summary(found)),
        _picture(facts, "matched by", "Lift of each column with its 95 % interval"),
        _markdown(*lifts.table(found)),
        plain(lifts.note(found)),
    ]
    asked = [column for column in found.columns if column.values]
    if asked:
        parts.append(
            f"Precision@{found.k} of the queries of one value, and when only films of another "
            "value may be found (*among others*), each beside that of a blind ranking."
        )
    for column in asked:
        parts.append(_markdown(*lifts.values_table(column, found.k)))
        if column.more:
            parts.append(f"{plain(column.name)}: {column.more:,} rarer values were not asked.")
    return [*parts, _sentence(f"Not measured: {missing}") if missing else ""]


def _sentence(text: str) -> str:
    return plain(f"{text[:1].upper()}{text[1:]}.")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells may have a small second line."""
    lines = [f"| {' | '.join(map(plain, head))} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = (plain(cell.replace("\n", " (", 1) + ")" * ("\n" in cell)) for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _limits(facts: Facts) -> list[str]:
    """Bullet points on the limits of the figures."""
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
            f"{counted(len(facts.facets['labels']), 'label')}: Precision@k measures whether "
            "neighbours belong "
            "to the same class. Two films of one class may differ in everything that matters "
            "clinically, so this is not clinical equivalence."
        )
    points.append(_text_limits(facts))
    same = facts.duplicates
    what = "image" if facts.sizes else "vector"
    if same.extra:
        points.append(
            f"{counted(same.extra, 'row repeats', 'rows repeat')} the {what} of another row byte "
            f"for byte; {same.across:,} "
            f"groups of equal {what}s reach over several splits and {same.conflicting:,} carry "
            "different labels. They are kept, as the data set has them; a query never finds "
            "itself, but it may find its copy."
        )
    else:
        points.append(f"No two rows hold the same {what} byte for byte.")
    if facts.patients_known:
        points.append(
            "Films of the query's own patient, or study where only that is known, are neither "
            "counted nor pictured among its neighbours; of films without either nobody can tell."
        )
    elif facts.notice is None:
        points.append("Patients are not known here: a neighbour may show the same patient again.")
    points.append("Intervals cover the choice of queries, not the choice of training data.")
    return ["\n".join(f"- {point}" for point in points)]


def _text_limits(facts: Facts) -> str:
    if facts.text_tower is False:
        return "The encoder understands images only; nothing is said about text."
    if _made_here(facts.stamp):
        return (
            "The text tower learned from sentences about two labels. It tells words of normal "
            "films from words of pneumonia; it does not understand reports, negation beyond its "
            "sentences, or other findings. An unknown word changes the result without meaning."
        )
    return "How far a sentence can be trusted depends on the texts that the encoder was trained on."


def _credit_of(datasets: Collection[str]) -> list[str]:
    """Licence and citation of each data set."""
    from ingest import medmnist, synthetic
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


def _picture(facts: Facts, key: str, about: str) -> str:
    path = facts.pictures.get(key)
    return f"![{plain(about)}]({quote(path)})" if path else ""


def plain(text: str) -> str:
    """Text escaped for markdown and its tables."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))


def code(text: str) -> str:
    """Text as inline code, also inside a table."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def short_path(uri: str, *, shell: bool = True) -> str:
    """Local path with ``~`` for the home folder, quoted for a shell if wanted."""
    home = f"{Path.home()}/"
    if uri.startswith(home):
        rest = uri.removeprefix(home)
        return f"~/{shlex.quote(rest)}" if shell else f"~/{rest}"
    return shlex.quote(uri) if shell else uri
