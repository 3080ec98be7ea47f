"""Reports of an ingestion: progress, counts, and suspicion of a wrong source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.record import Rejection
from store import FOUND, NOT_LABELLED, NOTHING_FOUND, UNCERTAIN, Outcome

#: Keys of outcomes in a report.
OUTCOME_KEYS: dict[Outcome, str] = {
    FOUND: "found",
    NOTHING_FOUND: "nothing_found",
    UNCERTAIN: "uncertain_only",
    NOT_LABELLED: "not_labelled",
}
#: Refusals that say something about a list, not about images.
_NOT_IMAGES = ("file_missing",)
#: With fewer refusals than this, a job is over before it could be stopped.
_FEWEST = 20
#: From this many images on, a job stops early when nearly all are refused.
_EARLY = 1000
_NEARLY_ALL = 0.9

_HINTS = {
    "wrong_modality": "is this an export of CT, MR or ultrasound? Expected chest radiographs",
    "wrong_body_part": "are these films of something else than the chest? If headers are wrong: "
    "--body-part any",
    "not_dicom": "these are no DICOM files; for PNG, JPEG or TIFF use: cxr ingest folder PATH",
    "not_an_image": "are these images at all? Pass the folder that holds the films",
    "truncated": "was the copy interrupted? Copy or download the folder again",
    "damaged": "was the copy damaged? Copy or download the folder again",
    "empty": "was the copy interrupted? Copy or download the folder again",
    "label_missing": "does --labels belong to this folder, and does --file-column name its files? "
    "Where its paths are of another machine: --file-prefix",
    "ambiguous_file": "give paths with more folders, or pass one copy of the data set",
    "ambiguous_row": "give paths with more folders in the table",
    "contradictory_rows": "several rows are of one file and differ: correct them, or keep fewer "
    "--columns",
    "bad_label": "does --label-column name the right columns?",
    "unsupported_compression": "install the decoders: pip install 'cxr-retrieval[dicom]'",
    "burned_in": "these films say that writing is burned into them; get copies without",
    "duplicate_id": "does --id-column name a column that is different for every image?",
    "unreadable": "may this user read the folder?",
    "link": "this is a folder of links, which are never followed; copy the files with cp -rL",
    "archive": "unpack the archives and pass the folder inside",
    "multi_frame": "are these series or videos? Expected single films",
    "no_contrast": "are these masks, or films that were lost when they were converted?",
    "too_large": "are these whole-slide images or scans? Expected films of at most 64 megapixels",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a job.

    Attributes:
        done: records and rejections dealt with.
        total: of the source.
        encoded: images that went through the encoder.
        seconds: since the start.
        refused: how many so far.
        note: what a person should know as soon as it is known; the report has it too.
        stage: ``checking`` while nothing had to be encoded, ``encoding``, ``finishing``.
    """

    done: int
    total: int
    encoded: int
    seconds: float
    refused: int = 0
    stage: str = "encoding"
    note: str | None = None

    @property
    def images_per_second(self) -> float:
        """Records dealt with per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at this pace; None before there is one."""
        pace = self.images_per_second
        return max(self.total - self.done, 0) / pace if pace > 0 else None


@dataclass(slots=True)
class IngestReport:
    """Counts of an ingestion, in images.

    Attributes:
        inserted, updated, unchanged: rows; ``updated`` counts new vectors and corrected labels.
        changed: of the rows updated, how many in which column: one of ours, one of the user's own,
            or ``image`` for new pixels. A file that was moved is a changed ``source``.
        encoded: images that went through the encoder; none when nothing is new.
        reread: of these, images that the gallery had and that are read otherwise by now.
        hashed: files that were read because their stat did not say that they are unchanged.
        rejected: what was refused, and why.
        seconds: how long it took.
        images_per_second: all images of the source, known ones included, per second.
        table_version: of the gallery afterwards.
        batch: name of this ingestion in the rows that it wrote.
        stopped: why it ended before its source did, one sentence; ``None`` when it did not.
        warning: what looks wrong with the source though it was read to its end.
        encoder_changed: a sentence when the encoder's files changed since they made these vectors.
        encoder_note: a sentence when the encoder sees far less than the films have, with the ones
            to use instead.
        gone: ids of rows whose file is gone, when asked for.
        pruned: how many of these were removed.
        columns: the user's own columns that came along, name to type.
        labelling: where labels came from, see ``ingest.Source``.
        outcomes: images taken by what their findings come to; see OUTCOME_KEYS.
        reports: films with a report, different reports, and what in them looks personal, by kind
            and masked; empty where the source brings none.
        labels_kept: films whose labels were corrected or confirmed here, of which the source says
            something else; what is stored stays.
        set_aside: images of films that were ``excluded`` or ``deleted`` here, which stay out.
        notes: what was found in files that were read all the same, a sentence a kind, and in how
            many of them.
    """

    batch: str
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    encoded: int = 0
    reread: int = 0
    hashed: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0
    table_version: int = 0
    stopped: str | None = None
    warning: str | None = None
    encoder_changed: str | None = None
    encoder_note: str | None = None
    gone: list[str] = field(default_factory=list)
    pruned: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    labelling: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(OUTCOME_KEYS.values(), 0)
    )
    reports: dict[str, Any] = field(default_factory=dict)
    labels_kept: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def kept_sentence(self) -> str | None:
        """See ``kept_sentence`` below."""
        return kept_sentence(self.labels_kept, self.set_aside)

    @property
    def reasons(self) -> dict[str, int]:
        """Counts of refusals by reason, most frequent first."""
        return dict(Counter(one.reason for one in self.rejected).most_common())

    def as_dict(self) -> dict[str, Any]:
        """The report as ``cxr ingest --json`` prints it."""
        return {
            "batch": self.batch,
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "changed": self.changed,
            "encoded": self.encoded,
            "reread": self.reread,
            "hashed": self.hashed,
            "rejected": [
                {"source": one.source, "reason": one.reason, "detail": one.detail}
                for one in self.rejected
            ],
            "reasons": self.reasons,
            "gone": self.gone,
            "pruned": self.pruned,
            "columns": self.columns,
            "labelling": self.labelling,
            "reports": self.reports,
            "outcomes": self.outcomes,
            "labels_kept": self.labels_kept,
            "set_aside": self.set_aside,
            "notes": dict(self.notes.most_common()),
            "stopped": self.stopped,
            "warning": self.warning,
            "encoder_changed": self.encoder_changed,
            "encoder_note": self.encoder_note,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "table_version": self.table_version,
        }


def kept_sentence(labels_kept: int, set_aside: Mapping[str, int]) -> str | None:
    """What stayed as people of the gallery have it, in one sentence; None where nothing did."""
    parts = []
    if labels_kept:
        films = "film" if labels_kept == 1 else "films"
        parts.append(f"labels of {labels_kept:,} {films} corrected here were kept")
    parts += [
        f"{count:,} {'film' if count == 1 else 'films'} {why} here "
        f"{'stays' if count == 1 else 'stay'} out"
        for why, count in sorted(set_aside.items(), reverse=True)
        if count
    ]
    return "; ".join(parts) or None


def suspicion(rejected: Sequence[Rejection], done: int, total: int) -> str | None:
    """The reason to stop, once it is clear that most of a source will be refused; else None.

    Args:
        rejected: so far.
        done: records and rejections dealt with.
        total: of the source.
    """
    refused = _images(rejected)
    clear = 2 * refused > total or (done >= _EARLY and refused > _NEARLY_ALL * done)
    if refused < _FEWEST or not clear:
        return None
    return f"{describe(rejected, done)}; nothing was stored"


def _images(rejected: Sequence[Rejection]) -> int:
    return sum(one.reason not in _NOT_IMAGES for one in rejected)


def describe(rejected: Sequence[Rejection], done: int) -> str:
    """Sentence on refusals: their number, the most frequent reasons, a hint."""
    reasons = Counter(one.reason for one in rejected).most_common()
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons[:3])
    hints = (_HINTS[reason] for reason, _ in reasons if reason in _HINTS)
    hint = next(hints, "look at the rejections")
    return f"{len(rejected):,} of {done:,} refused ({told}): {hint}"
