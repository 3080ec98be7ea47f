"""``cxr export``: a gallery as plain files, with figures and a report.

The layout of the data files is defined by ``ingest.artefacts.folder``; this adds
``retrieval_figures/`` and the report. The same gallery and command give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import csv_bytes, write
from ingest import folder as artefacts
from store import (
    BadQuery,
    CxrError,
    NothingToMeasure,
    check_encoder,
    counted,
    expanded,
    matched_by,
)
from ui.report.figures import pictures
from ui.report.findings import (
    DEPTH,
    SEED,
    check_depths,
    duplicates,
    findings,
    measure,
    prompted,
    setting_of,
)
from ui.report.matched_by_figure import matched_by_picture
from ui.report.sheet import notice_of
from ui.report.swap import staging, swap
from ui.report.text import NAME, Facts, report, short_path
from ui.tables import Sheet, remarks

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Evaluation, Gallery, Matches, Row
    from ui.report.findings import Setting

#: Tags, notes and saved selections of the films; written where there are any.
CURATION = "curation.csv"
#: Sentences that an export asks, and the label each should find where the gallery has it.
PROMPTS: Mapping[str, str | None] = {
    "pneumonia opacity in lungs": "pneumonia",
    "normal chest radiograph": "normal",
}
_OURS = re.compile(r"retrieval_figures/[a-z0-9_]+\.png")


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """Files and evaluations of an export.

    Attributes:
        folder: where.
        files: relative POSIX paths, data files first.
        evaluations: what the report shows.
    """

    folder: Path
    files: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {"folder": str(self.folder), "files": list(self.files)}


def export(
    gallery: Gallery,
    out_dir: str | Path,
    encoder: Encoder | None = None,
    *,
    k: Sequence[int] = (1, 3, 5, DEPTH),
    evaluations: Sequence[Evaluation] | None = None,
    prompts: Mapping[str, str | None] = PROMPTS,
    command: str | None = None,
    progress: Callable[[str], None] | None = None,
    with_reports: bool = False,
) -> Exported:
    """Write a gallery's embeddings, labels, ids, index, figures and report to a folder.

    Everything is written aside first and then takes the place of an earlier export; other files in
    the folder stay as they are.

    Args:
        gallery: brought up to date first.
        out_dir: made when missing.
        encoder: the gallery's own; needed for text queries only.
        k: depths of Precision@k; those beyond the gallery are left out, and the report says so.
        evaluations: measured before, of the gallery's present version; measured here when None.
        prompts: sentence to the label that it should find, or None.
        command: for the report; the plain ``cxr export`` when None.
        progress: called with what is being done, in a few words.
        with_reports: also write the reports of films, into ``meta.json``.

    Raises:
        BadQuery: an empty gallery, or a bad k.
        EncoderMismatch: the encoder is not the one that made the gallery.
        UsageError: the folder is a file or cannot be written to.
        CxrError: the gallery, or the evaluations, are of another version by now.
    """
    say = progress or (lambda _: None)
    depths = check_depths(k)
    target = expanded(out_dir)
    if encoder is not None:
        check_encoder(f"the gallery at {gallery.uri}", gallery.stamp, encoder.stamp)
    with staging(target) as aside:
        say("reading rows")
        rows = write.rows_in_order(gallery)
        version = gallery.table_version
        names = write.label_names(rows)
        data = write.data_files(rows, gallery.vectors([*rows]), names)
        setting = setting_of(rows)
        say("evaluating")
        measured, left_out = _evaluations(gallery, setting, depths, evaluations)
        say("searching examples and failures")
        found = findings(gallery, rows, setting)
        text_tower = encoder.supports_text if encoder else None
        asked = []
        if encoder is not None and encoder.supports_text and prompts:
            asked = prompted(gallery, encoder, prompts, setting)
        say("looking for what it matches by")
        matches = _matches(gallery, setting)
        say("drawing figures")
        figures = pictures(gallery, setting, found, asked, measured)
        if not isinstance(matches, str) and any(one.lift for one in matches.columns):
            figures["matched by"] = matched_by_picture(gallery, matches)
        store = gallery.describe()
        if store["table_version"] != version:
            raise CxrError(
                f"the gallery at {gallery.uri} went from version {version} to "
                f"{store['table_version']} during the export; export again"
            )
        text = report(
            Facts(
                store=store,
                stamp=gallery.stamp,
                text_tower=text_tower,
                facets=gallery.facets(),
                sizes=sorted({(row.width, row.height) for row in rows.values() if row.width}),
                setting=setting,
                evaluations=measured,
                left_out=left_out,
                findings=found,
                prompts=asked,
                matches=matches,
                duplicates=duplicates(rows),
                example=next(iter(rows)),
                patients_known=any(setting.group.values()),
                pictures={key: path for key, (path, _) in figures.items()},
                command=command or _command(gallery, target),
                notice=notice_of(gallery.facets()["dataset"]),
            )
        )
        contents = {
            **data,
            **dict(figures.values()),
            NAME: text.encode("utf-8", "backslashreplace"),
        }
        if (sheet := curated(gallery)) is not None:
            contents[CURATION] = csv_bytes(*sheet)
        made = _meta(gallery, rows, names, setting, depths, measured, contents)
        made["text_tower"] = text_tower
        if with_reports:
            made["columns"] = write.columns(rows, reports=True)
        if not isinstance(matches, str):
            made["matched_by"] = {k: v for k, v in matches.as_dict().items() if k != "store"}
        contents[artefacts.META] = write.json_lines(made)
        say("writing files")
        for name, content in contents.items():
            path = aside / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        swap(aside, target, [*contents], _written_before(target))
    return Exported(target, tuple(contents), tuple(measured))


def curated(gallery: Gallery) -> Sheet | None:
    """Films with their tags, note and saved selections, a line each; None where none has any."""
    curation = gallery.curation()
    told = curation.remarks()
    chosen: dict[str, list[str]] = {}
    for one in curation.selections():
        films = curation.selected(one.name)
        for film in films if isinstance(films, list) else gallery.ids(films):
            chosen.setdefault(film, []).append(one.name)
    if not told and not chosen:
        return None
    head, _ = remarks({})
    rows: list[list[object]] = []
    for film in sorted({*told, *chosen}):
        _, [line] = remarks({film: told.get(film, {"tags": [], "remark": None})})
        rows.append([*line, "; ".join(chosen.get(film, ()))])
    return [*head, "selections"], rows


def is_current(
    gallery: Gallery,
    out_dir: str | Path,
    encoder: Encoder | None = None,
    *,
    k: Sequence[int] = (1, 3, 5, DEPTH),
) -> bool:
    """Whether a folder holds a whole export of exactly this gallery, by this software.

    Compares the data files' digests with what would be written now; figures and report only
    have to be there. An export without text queries is not current once there is an ``encoder``
    that can answer them, and the other way round.
    """
    folder = expanded(out_dir)
    meta = _read_meta(folder)
    expected = {
        **gallery.describe(),
        "made_by": _version(),
        "depths": list(check_depths(k)),
        "text_tower": encoder.supports_text if encoder else None,
    }
    expected.pop("uri")
    if any(meta.get(name) != value for name, value in expected.items()):
        return False
    digests, files = meta.get("sha256"), meta.get("files")
    if not isinstance(digests, dict) or not isinstance(files, list):
        return False
    if not all((folder / str(name)).is_file() for name in files):
        return False
    rows = write.rows_in_order(gallery)
    names = write.label_names(rows)
    fresh = write.data_files(rows, gallery.vectors([*rows]), names)
    if digests != {name: hashlib.sha256(content).hexdigest() for name, content in fresh.items()}:
        return False
    return all((folder / name).read_bytes() == content for name, content in fresh.items())


def _evaluations(
    gallery: Gallery,
    setting: Setting,
    depths: Sequence[int],
    given: Sequence[Evaluation] | None,
) -> tuple[list[Evaluation], list[str]]:
    """Evaluations of the report, and sentences about depths and protocols left out."""
    if given is not None:
        for one in given:
            if one.store.get("table_version") != gallery.table_version:
                raise CxrError(
                    f"an evaluation is of table version {one.store.get('table_version')}, the "
                    f"gallery is at {gallery.table_version}; evaluate again"
                )
        return list(given), []
    if not setting.queries:
        return [], ["no row has a label, so nothing can be right or wrong."]
    measured, left_out = [], []
    for protocol, most in setting.protocols.items():
        possible = [depth for depth in depths if depth <= most]
        left_out += [
            f"{protocol}, k = {depth}: only {counted(most, 'row')} can be found."
            for depth in depths[len(possible) :]
        ]
        if possible:
            try:
                measured.append(measure(gallery, setting, protocol, possible))
            except NothingToMeasure as error:
                left_out.append(f"{protocol}: {error}.")
    return measured, left_out


def _matches(gallery: Gallery, setting: Setting) -> Matches | str:
    """What the encoder matches by, over the queries of the report; or why nobody can say."""
    if not setting.queries:
        return "without labels nobody can say which hits share the finding"
    try:
        return matched_by(
            gallery, k=max(min(DEPTH, len(setting.queries) - 1), 1), split=setting.split
        )
    except (BadQuery, NothingToMeasure) as error:
        return str(error)


def _meta(
    gallery: Gallery,
    rows: Mapping[str, Row],
    names: Sequence[str],
    setting: Setting,
    depths: Sequence[int],
    evaluations: Sequence[Evaluation],
    contents: Mapping[str, bytes],
) -> dict[str, Any]:
    several = any(len(row.labels) > 1 for row in rows.values())
    found = [{k: v for k, v in one.as_dict().items() if k != "store"} for one in evaluations]
    data = (artefacts.EMBEDDINGS, artefacts.LABELS, artefacts.IDS, artefacts.INDEX)
    return {
        "format": artefacts.FORMAT,
        "made_by": _version(),
        "encoder": gallery.stamp.name,
        "fingerprint": gallery.stamp.fingerprint,
        "dimension": gallery.stamp.dimension,
        "rows": len(rows),
        "table_version": gallery.table_version,
        "order": "data set, split (train, val, test), index",
        "index": "IndexFlatIP, unit vectors: inner product is cosine",
        "label_names": list(names),
        "labels": "0/1 matrix, one column per label name" if several else "index, -1 for none",
        "notice": notice_of(gallery.facets()["dataset"]),
        "protocol": found[0]["protocol"] if found else None,
        "precision": found[0]["precision"] if found else {},
        "evaluations": {one["protocol"]: one for one in found},
        "depths": list(depths),
        "figures": f"{setting.name}, seed {SEED}",
        "files": [*contents, artefacts.META],
        "sha256": {name: hashlib.sha256(contents[name]).hexdigest() for name in data},
        "columns": write.columns(rows),
        artefacts.OWN: write.own_columns(rows, gallery.columns()),
    }


def _read_meta(folder: Path) -> dict[str, Any]:
    """Metadata of an earlier export; empty when there was none."""
    try:
        found = json.loads((folder / artefacts.META).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _written_before(folder: Path) -> list[str]:
    """Files of an earlier export: the data files, the report, and the figures that it names."""
    files = _read_meta(folder).get("files")
    named = [str(name) for name in files] if isinstance(files, list) else []
    fixed = (artefacts.EMBEDDINGS, artefacts.LABELS, artefacts.IDS, artefacts.INDEX, artefacts.META)
    # Only what an export could have written: meta.json may come from anywhere.
    return [*fixed, NAME, *(name for name in named if _OURS.fullmatch(name))]


def _command(gallery: Gallery, target: Path) -> str:
    return f"cxr export {shlex.quote(str(target))} --store {short_path(gallery.uri)}"


def _version() -> str:
    return f"cxr-retrieval {metadata.version('cxr-retrieval')}"
