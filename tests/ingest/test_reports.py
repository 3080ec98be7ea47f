"""Reports of films on their way in, from every kind of source; personal data is shown first."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import (
    ImageFile,
    Rejection,
    Reports,
    Source,
    UncheckedReports,
    ingest,
    open_source,
    read_vectors,
    store_artefacts,
)
from ingest.reports.personal import marks, masked
from ingest.reports.sections import report_of
from ingest.reports.texts import joined
from store import BadArtefacts, BadSource, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png, write

CASES = Path(__file__).parents[3] / "shared" / "cases"


def told(source: Source) -> dict[str, dict[str, Any]]:
    """Metadata of a source's files by the ends of their ids."""
    items = list(source.records)
    assert all(isinstance(item, ImageFile) for item in items), items
    return {str(one.id).rpartition("/")[2]: dict(one.metadata) for one in items}  # type: ignore[union-attr]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


# -- what looks personal ---------------------------------------------------------------------------

PERSONAL = {
    "name": """""Dr. Smith was told.|Discussed with Dr Jones.|DR. MILLER WAS CALLED.
        |Mr. John Q. Public
        |Mrs. Müller|dictated by: Alan Turing|Electronically signed by John A. Smith, MD
        |Patient name: DOE, JANE|Dra. García López|Prof. O'Neill|read by Ada Lovelace
        |seen by dr. watson
        |Frau Schmidt|SMITH, JOHN, M.D.|Patient: Smith, John""",
    "date": """12/03/2014|3/14/09|2014-05-01|2014-05-01T10:30:00|20140915|March 3, 2010|3 March 2010
        |3rd of May|12 de marzo de 2014|3. März 2014|seen on 3/14|12.03.2014|Mar 2010|01-02-13
        |Dec 12
        |le 3 mars 2014|DECEMBER 2009|5-MAY-2011""",
    "number": """MRN 1234567|MRN: 00-12-34|Accession number ABC12345|acc# 998877|SSN 123-45-6789
        |Patient ID 4711123|NHC: 123456|1.2.840.113619.2.55.3|12345678|943 476 5919
        |Case no. 20-1234""",
    "phone": """Call 555-123-4567|(617) 555-1234|pager 12345|+49 30 1234567|ext. 4711
        |Tel.: 030 12345""",
    "e-mail": "a.b@hospital.org",
}
#: Sentences of radiology with nothing personal in them.
HARMLESS = """T10 compression fracture.|A 3.5 cm nodule.|1/2 of the lung|grade 2
        |PA and lateral views.
    |T10/11 disc space.|ribs 9/10/11|Right ribs 7/8/09 fractured|3 x 4 x 5 mm|1024 x 2048 pixels
    |MR imaging advised.|MS patient|Mediastinum normal.|Kerley B lines.|Swan-Ganz catheter tip.
    |May 5 mm nodule|may represent|2-3 cm above the carina|L1-L2|C5-6-7 fusion|Comparison: None.
    |Two views, 2/2.|Stage 3/4|5 mm in 2012|80-90%|HU 1200|FINDINGS: HEART SIZE NORMAL.|1.2.3
        |0.123456
    |Series 3, image 12/45|IMPRESSION: 1. No change. 2. Effusion.|Doctor was notified
    |Dr. will be notified|sin hallazgo .|1/2/3|50-year-old male|Approximately 10,000 mL|Dobhoff tube
    |St. Jude valve|3 of 5 images|12-lead|Chest, 2 views, frontal and lateral|In March of|Image 3/14
    |Patient: Rotated.|patient 1 of 2|patient 60 years|case 3|T12 on 1/2|on 3/4 of films|Tc-99m
    |2000 cc|4:30 PM|0.5-1.0|DR Chest|PA-C|CT of the chest and two-view chest radiograph
        |7 cm by 3 cm
    |increased from 11/12 to 12/12|DR CHEST 2 VIEWS|the aorta is 45 mm, 3.9 cm before
        |Name of the study
    |Fleischner 2017 criteria|reported previously by the same department|3 mm at 1:30
        |NG tube 10 cm"""
PLACEHOLDERS = """Dr. XXXX was notified.|XXXX-year-old XXXX|dated XXXX, XXXX at XXXX p.m.
    |Discussed with Dr. ___ by telephone at 10:30 a.m.|___ at 2:15 pm|[**2101-5-4**] noted
    |Dr. [**Last Name (STitle) 123**]|MRN: [**Medical Record Number 1234567**]|Dr. [NAME] saw <DATE>
    |Signed by XXXX XXXX, MD|Mr. ****** is rotated|Dr. REDACTED"""


def cases(text: str) -> list[str]:
    return [one.strip() for one in text.split("|")]


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, one) for kind, texts in PERSONAL.items() for one in cases(texts)]
)
def test_what_looks_personal_is_seen_within_a_sentence(kind: str, text: str) -> None:
    for around in ("{}", "No effusion. {}.", "Comparison: {}; no change."):
        whole = around.format(text)
        assert kind in {mark.kind for mark in marks(whole)}, whole


def test_radiology_raises_no_false_alarm() -> None:
    harmless = cases(HARMLESS)
    alarms = [(one, marks(one)) for one in harmless if marks(one)]
    assert alarms == []


@pytest.mark.parametrize("text", cases(PLACEHOLDERS))
def test_what_was_taken_out_is_nothing_to_report(text: str) -> None:
    assert marks(text) == []


def test_words_of_our_own_texts_raise_no_alarm() -> None:
    folder = Path(__file__).parents[2] / "ingest" / "training"
    for name in ("prompts.csv", "sentences.csv"):
        lines = (folder / name).read_text("utf-8").splitlines()
        assert [line for line in lines if marks(line)] == []


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_looked_through(text: str) -> None:
    found = marks(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    for mark in found:
        assert not any(char.isdecimal() for char in masked(text[mark.start : mark.end]))


def test_what_was_found_is_counted_and_masked() -> None:
    texts = [
        "Dr. Smith saw it on 12/03/2014.",
        "Dr. Smith again, Dr. Jones too.",
        "Clear lungs.",
        None,
    ]
    found = Reports.of((text, f"film {number}") for number, text in enumerate([*texts, texts[0]]))
    assert (found.films, len(found.texts)) == (4, 3)
    assert {kind: (one.reports, one.places) for kind, one in found.personal.items()} == {
        "name": (2, 3),
        "date": (1, 1),
    }
    assert found.personal["name"].examples == (("Dr. S****", "film 0"), ("Dr. J****", "film 1"))
    said = " ".join(found.said()) + str(UncheckedReports(found)) + str(found.as_dict())
    assert not any(word in said for word in ("Smith", "Jones", "2014"))
    assert "--reports-checked" in str(UncheckedReports(found)) and "Clear lungs" not in said
    assert Reports.of([("Clear lungs.", "film")]).personal == {}


# -- one text of several parts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([("findings", "Clear.")], "Clear."),
        (
            [("findings", "Clear."), ("impression", "Normal.")],
            "Findings: Clear.\n\nImpression: Normal.",
        ),
        ([("findings", ""), ("impression", "Normal.")], "Impression: Normal."),
        ([("FINDINGS", "FINDINGS: Clear."), ("b_c", "nan")], "FINDINGS: Clear."),
        ([("findings", "Same."), ("impression", "Same.")], "Findings: Same."),
        ([("findings", " n/a "), ("impression", "-")], None),
        ([("report_text", "a\r\nb\x00\x1b[1mc")], "a\nb[1mc"),
        ([("chestFindings", "a"), ("final text", "b")], "ChestFindings: a\n\nFinal text: b"),
    ],
)
def test_parts_are_joined_under_their_headings(
    parts: list[tuple[str, str]], text: str | None
) -> None:
    assert joined(parts) == text


# -- CSV -------------------------------------------------------------------------------------------

TABLE = (
    "file;label;study;findings;impression\n"
    'f0.png;a;s1;"Größe normal; clear.";Normal.\n'
    "f1.png;b;s1;;\n"
    "f2.png;a;s2;Effusion.;nan\n"
    "f3.png;b;;;\n"
)


def films(root: Path, count: int = 4) -> Path:
    for number in range(count):
        write(root, f"d/f{number}.png", png(number, 32))
    return root / "d"


def of_csv(root: Path, text: str = TABLE, encoding: str = "utf-8", **options: Any) -> Source:
    write(root, "t.csv", text.encode(encoding))
    options = {"report_column": ["findings,impression"], **options}
    return open_source("folder", films(root), labels=root / "t.csv", **options)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_columns_of_a_csv(tmp_path: Path, encoding: str) -> None:
    source = of_csv(tmp_path, encoding=encoding)
    found = told(source)
    assert {name: one["report"] for name, one in found.items()} == {
        "f0.png": "Findings: Größe normal; clear.\n\nImpression: Normal.",
        "f1.png": None,
        "f2.png": "Findings: Effusion.",
        "f3.png": None,
    }
    assert found["f0.png"]["labels"] == ("a",)
    assert source.labelling["report_columns"] == ["findings", "impression"]
    assert (source.reports.films, len(source.reports.texts)) == (2, 2)


def test_the_report_of_a_study_goes_to_all_its_films(tmp_path: Path) -> None:
    source = of_csv(tmp_path, columns=["study"])
    found = told(source)
    assert found["f1.png"]["report"] == found["f0.png"]["report"]
    assert found["f3.png"]["report"] is None
    assert "1 films got the report of their study" in str(source.note)


def test_a_table_of_reports_alone_says_nothing_of_labels(tmp_path: Path, gallery: Gallery) -> None:
    ingest(of_csv(tmp_path, report_column=[]), gallery, FakeEncoder())
    source = of_csv(
        tmp_path, "file,findings\nf0.png,Clear.\nf1.png,Effusion.\n", report_column=["findings"],
        unlabelled=True,
    )  # fmt: skip
    assert "no column is clearly labels" in str(source.note)
    report = ingest(source, gallery, FakeEncoder())
    assert (report.encoded, report.changed) == (0, {"report": 2})
    rows = gallery.rows(["d/f0.png", "d/f1.png", "d/f2.png"])
    assert [(row.labels, row.report) for _, row in sorted(rows.items())] == [
        (("a",), "Clear."),
        (("b",), "Effusion."),
        (("a",), None),
    ]


def test_reports_are_read_only_when_asked_for_and_stay(tmp_path: Path, gallery: Gallery) -> None:
    def run(text: str = TABLE, **options: Any) -> Any:
        encoder = FakeEncoder()
        report = ingest(of_csv(tmp_path, text, **options), gallery, encoder)
        return encoder.encoded, report.changed, report.reports.get("films", 0)

    def reports() -> list[str | None]:
        return [row.report for _, row in sorted(gallery.rows(gallery.ids()).items())]

    assert run(label_column=["label"], report_column=[]) == (4, {}, 0)
    gallery.refresh()
    assert reports() == [None] * 4
    assert run() == (0, {"report": 2}, 2)
    first = reports()
    assert run() == (0, {}, 2)
    changed = TABLE.replace("Effusion.", "No effusion.")
    assert run(changed) == (0, {"report": 1}, 2)
    assert reports()[2] == "Findings: No effusion." and reports()[:2] == first[:2]
    assert run(TABLE, label_column=["label"], report_column=[]) == (0, {}, 0)
    assert reports()[2] == "Findings: No effusion."
    assert run(TABLE.replace("Effusion.", "")) == (0, {"report": 1}, 1)
    assert reports()[2] is None


def test_what_looks_personal_is_refused_before_the_first_row(
    tmp_path: Path, gallery: Gallery
) -> None:
    text = TABLE.replace("Effusion.", "Effusion seen by Dr. Smith.")
    encoder = FakeEncoder()
    with pytest.raises(UncheckedReports, match=r"name 1.*nothing was stored.*--reports-checked"):
        ingest(of_csv(tmp_path, text), gallery, encoder)
    gallery.refresh()
    assert (encoder.encoded, gallery.ids()) == (0, [])
    report = ingest(of_csv(tmp_path, text), gallery, encoder, reports_checked=True)
    assert report.inserted == 4
    assert report.as_dict()["reports"]["personal"]["name"] == {
        "reports": 1,
        "places": 1,
        "examples": [{"masked": "Dr. S****", "film": "f2.png"}],
    }


def test_rows_with_different_reports_contradict_each_other_without_their_text(
    tmp_path: Path,
) -> None:
    source = of_csv(tmp_path, TABLE + "f2.png;a;s2;Dr. Smith says pneumonia.;\n")
    [refused] = [one for one in source.records if isinstance(one, Rejection)]
    assert refused.reason == "contradictory_rows" and "differ in their report" in refused.detail
    assert "Smith" not in refused.detail and "Effusion" not in refused.detail


def test_columns_of_reports_that_are_not_there_or_mean_labels(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"no column 'text' \(--report-column\)"):
        of_csv(tmp_path, report_column=["text"])
    with pytest.raises(UsageError, match="--label-column and by --report-column"):
        of_csv(tmp_path, label_column=["findings"])
    with pytest.raises(UsageError, match="without a CSV"):
        open_source("folder", films(tmp_path), report_column=["findings"])
    with pytest.raises(UsageError, match="--report-column report"):
        of_csv(tmp_path, "file,label,report\nf0.png,a,b\n", columns=["report"], report_column=[])


# -- IU X-ray --------------------------------------------------------------------------------------

PROJECTIONS = (
    "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n1,1_IM-0001-3001.dcm.png,Lateral\n"
    "2,2_IM-0652-1001.dcm.png,Frontal\n3,3_IM-0700-1001.dcm.png,Frontal\n4,4_IM-1.dcm.png,Frontal\n"
    "9,9_IM-9.dcm.png,Frontal\n"
)
INDIANA = (
    "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    "1,normal,normal,Chest,XXXX-year-old,None.,The lungs are clear. Dr. XXXX was told.,Normal.\n"
    '2,"Pulmonary Disease, Chronic Obstructive;Opacity/lung/base;Opacity/lung/apex",'
    '"Pulmonary Disease, Chronic Obstructive;Opacity;Opacity",Chest,Cough,None,,COPD.\n'
    "3,No Indexing,No Indexing,Chest,,,,\n"
    "4,Cardiomegaly/borderline;Aorta/tortuous,,Chest,,,Large heart.,\n"
)


def iu(root: Path, absent: tuple[str, ...] = ()) -> Path:
    write(root, "iu/indiana_projections.csv", PROJECTIONS)
    write(root, "iu/indiana_reports.csv", INDIANA)
    for number, line in enumerate(PROJECTIONS.splitlines()[1:]):
        if (name := line.split(",")[1]) not in absent:
            write(root, f"iu/images/images_normalized/{name}", png(number, 32))
    return root / "iu"


def test_iu_xray(tmp_path: Path, gallery: Gallery) -> None:
    source = open_source("iu-xray", iu(tmp_path, absent=("3_IM-0700-1001.dcm.png",)))
    found = told(source)
    assert {
        name[:5]: (one["view"], one["study"], one.get("labels")) for name, one in found.items()
    } == {
        "1_IM-": ("FRONTAL", "iu/1", ("normal",)),
        "2_IM-": ("FRONTAL", "iu/2", ("pulmonary disease, chronic obstructive", "opacity")),
        "4_IM-": ("FRONTAL", "iu/4", ("cardiomegaly", "aorta")),
        "9_IM-": ("FRONTAL", "iu/9", None),
    }
    assert found["1_IM-0001-3001.dcm.png"]["view"] == "LATERAL"
    assert [one.get("report") for one in found.values()] == [
        *["Findings: The lungs are clear. Dr. XXXX was told.\n\nImpression: Normal."] * 2,
        "Impression: COPD.",
        "Findings: Large heart.",
        None,
    ]
    assert "1 of 6 images in indiana_projections.csv, indiana_reports.csv" in str(source.note)
    assert "1 films have no row in indiana_reports.csv" in str(source.note)
    assert not source.reports.personal
    encoder = FakeEncoder()
    report = ingest(open_source("iu-xray", iu(tmp_path)), gallery, encoder)
    assert (report.inserted, report.rejected) == (6, [])
    # "No Indexing" is nobody's reading.
    assert gallery.row("iu-xray/images/images_normalized/3_IM-0700-1001.dcm.png").outcome == (
        "not labelled"
    )
    ingest(open_source("iu-xray", iu(tmp_path), no_reports=True), gallery, encoder)
    assert sum(row.report is not None for row in gallery.rows(gallery.ids()).values()) == 4
    other = told(open_source("iu-xray", iu(tmp_path), report_column=["indication"]))
    assert other["1_IM-0001-3001.dcm.png"]["report"] == "XXXX-year-old"
    with pytest.raises(UsageError, match="contradict"):
        open_source("iu-xray", iu(tmp_path), report_column=["findings"], no_reports=True)


def test_iu_xray_with_two_reports_of_a_study(tmp_path: Path) -> None:
    place = iu(tmp_path)
    write(place, "indiana_reports.csv", INDIANA + "2,normal,normal,,,,Other.,\n")
    refused = [one for one in open_source("iu-xray", place).records if isinstance(one, Rejection)]
    assert [one.reason for one in refused] == ["contradictory_rows"]
    (place / "indiana_reports.csv").unlink()
    with pytest.raises(BadSource, match=r"holds no indiana_reports\.csv"):
        open_source("iu-xray", place)


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases here")
def test_the_shared_tables_of_iu_xray() -> None:
    source = open_source("iu-xray", CASES / "reports-and-projections")
    found = told(source)
    assert len(found) == 5 and source.note is None and not source.reports.personal
    lateral = found["2_IM-0652-2001.dcm.png"]
    assert (lateral["view"], lateral["labels"]) == ("LATERAL", ("cardiomegaly", "pulmonary artery"))
    assert lateral["report"] == found["2_IM-0652-1001.dcm.png"]["report"]
    assert lateral["report"].endswith("\n\nImpression: No acute change of the lungs.")


# -- PadChest --------------------------------------------------------------------------------------

PADCHEST = (
    "ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "ViewPosition_DICOM,Projection,Pediatric,Report,Labels\n"
    "a.png,0,20140915,11,7,1930.0,F,POSTEROANTERIOR,PA,,sin hallazgo .,['normal']\n"
    "b.png,0,20140915,11,7,1930.0,F,LATERAL,L,,sin hallazgo .,\"[' pleural effusion', 'mass']\"\n"
    "c.png,54,20100101,12,8,,M,,UNK,PED,cardiomegalia . 12/03/2009 .,[]\n"
    "d.png,54,20100101,13,9,2011.0,M,,AP,PED,,\n"
)


@pytest.mark.parametrize("flat", [False, True])
def test_padchest(tmp_path: Path, flat: bool) -> None:
    write(tmp_path, "p/PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", PADCHEST)
    for number, (folder, name) in enumerate((("0", "a"), ("0", "b"), ("54", "c"), ("54", "d"))):
        write(tmp_path, f"p/{'images' if flat else folder}/{name}.png", png(number, 32))
    source = open_source("padchest", tmp_path / "p")
    found = told(source)
    assert found["a.png"] == {
        "dataset": "padchest",
        "labels": ("normal",),
        "labelled": True,
        "patient": "padchest/7",
        "study": "padchest/11",
        "view": "PA",
        "sex": "F",
        "age": 84.0,
        "report": "sin hallazgo .",
        "source": found["a.png"]["source"],
    }
    names = ("labels", "labelled", "view", "age", "report")
    assert [tuple(found[f"{one}.png"][name] for name in names) for one in "bcd"] == [
        (("effusion", "mass"), True, "LATERAL", 84.0, "sin hallazgo ."),
        ((), True, None, None, "cardiomegalia . 12/03/2009 ."),
        ((), False, "AP", None, None),
    ]
    assert "1 age is not a number of years" in str(source.note)  # born after the film was taken
    assert {kind: one.places for kind, one in source.reports.personal.items()} == {"date": 1}
    without = open_source("padchest", tmp_path / "p", no_reports=True)
    assert not without.reports.films and "report" not in told(without)["a.png"]


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases here")
def test_the_shared_table_of_padchest(gallery: Gallery) -> None:
    report = ingest(open_source("padchest", CASES / "padchest"), gallery, FakeEncoder())
    assert (report.inserted, report.rejected, report.reports["films"]) == (8, [], 8)
    assert report.outcomes == {
        "found": 6,
        "nothing_found": 1,
        "uncertain_only": 0,
        "not_labelled": 1,
    }
    assert {row.report for row in gallery.rows(gallery.ids()).values()} == {"sin hallazgo ."}


# -- MIMIC-CXR -------------------------------------------------------------------------------------

REPORT = """\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation, pleural effusion or pneumothorax.  Bilateral
 nodular opacities that most likely represent nipple shadows.

 The heart is normal.

 IMPRESSION:

 1. No acute cardiopulmonary
 process.
 2. Discussed with Dr. ___ at 10:30 am.
"""
PARTS = (
    "Findings: There is no focal consolidation, pleural effusion or pneumothorax. Bilateral "
    "nodular opacities that most likely represent nipple shadows.\nThe heart is normal.\n\n"
    "Impression: 1. No acute cardiopulmonary process.\n2. Discussed with Dr. ___ at 10:30 am."
)


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        (REPORT, ("findings", "impression"), (PARTS, True)),
        (REPORT, ("impression",), (PARTS.partition("Impression: ")[2], True)),
        ("CHEST X-RAY:\n\n Clear.\n", ("findings",), ("Chest x-ray: Clear.", False)),
        ("HISTORY: cough\n\nNo effusion.", ("findings",), ("History: cough\nNo effusion.", False)),
        (
            "FINDINGS AND IMPRESSION: Clear.",
            ("findings", "impression"),
            ("Findings and impression: Clear.", True),
        ),
        ("IMPRESSION: Clear.", ("findings", "impression"), ("Impression: Clear.", True)),
        ("  \n", ("findings",), (None, False)),
    ],
)  # fmt: skip
def test_sections_of_a_report(
    text: str, wanted: tuple[str, ...], found: tuple[str | None, bool]
) -> None:
    assert report_of(text, wanted) == found


def mimic(root: Path, studies: tuple[str, ...] = ("50414267", "57375967")) -> Path:
    rows = [(f"{number:08d}-0-0-0-{at}", number) for number in map(int, studies) for at in range(2)]
    names = ("metadata", "split", "chexpert")
    labels = (
        "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,"
        "Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,"
        "Support Devices"
    )
    tables = (
        "dicom_id,subject_id,study_id,ViewPosition\n"
        + "".join(f"{image},10000032,{study},PA\n" for image, study in rows),
        "dicom_id,study_id,subject_id,split\n",
        f"subject_id,study_id,{labels}\n10000032,50414267,,,,,,,,,,1.0,,,,\n",
    )
    for name, text in zip(names, tables, strict=True):
        write(root, f"jpg/mimic-cxr-2.0.0-{name}.csv", text)
    for number, (image, study) in enumerate(rows):
        path = f"jpg/files/p10/p10000032/s{study}/{image}.jpg"
        write(root, path, png(number, 32))
    return root / "jpg"


@pytest.mark.parametrize("form", ["", "files", "files/p10", "files/p10/p10000032", "zip"])
def test_report_files_of_mimic(tmp_path: Path, form: str) -> None:
    place = tmp_path / "reports"
    name = "files/p10/p10000032/s50414267.txt"
    write(place, name, REPORT)
    if form == "zip":
        place = tmp_path / "mimic-cxr-reports.zip"
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, REPORT)
            file.writestr("files/p10/p10000032/index.html", "no report")
    source = open_source(
        "mimic-cxr-jpg", mimic(tmp_path), reports=place if form == "zip" else place / form
    )
    found = told(source)
    assert [one.get("report", "none")[:20] for one in found.values()] == [
        *["Findings: There is n"] * 2,
        *["none"] * 2,
    ]
    assert "1 of 2 studies have no report there" in str(source.note)
    assert (source.reports.films, source.reports.personal) == (2, {})


def test_reports_of_mimic_that_are_not_there(tmp_path: Path) -> None:
    place = mimic(tmp_path)
    with pytest.raises(BadSource, match=r"report of none of the 2 studies.*s50414267\.txt"):
        open_source("mimic-cxr-jpg", place, reports=films(tmp_path))
    with pytest.raises(BadSource, match=r"cannot be read.*mimic-cxr-reports\.zip"):
        open_source("mimic-cxr-jpg", place, reports=tmp_path / "nothing.zip")
    with pytest.raises(UsageError, match="--reports PATH"):
        open_source("mimic-cxr-jpg", place, report_column=["impression"])
    write(tmp_path, "r/p10/p10000032/s50414267.txt", "Clear.\n".encode("cp1252"))
    outside = write(tmp_path, "outside.txt", "Secret.")
    (tmp_path / "r/p10/p10000032/s57375967.txt").symlink_to(outside)
    with pytest.raises(BadSource, match=r"s57375967\.txt cannot be read"):
        open_source("mimic-cxr-jpg", place, reports=tmp_path / "r")


# -- vectors made elsewhere ------------------------------------------------------------------------


def vectors(rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def arrow_table(**columns: Any) -> pa.Table:
    return pa.table({"id": ["a", "b", "c"], "embedding": vectors(3).tolist(), **columns})


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_columns_of_a_table_of_vectors(tmp_path: Path, kind: str) -> None:
    table = arrow_table(
        findings=["Clear.", None, "n/a"],
        impression=pa.array(["Normal.", "Effusion.", None]).dictionary_encode(),
        report=[["One.", "Two."], [], None],
    )
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, path)
    without = read_vectors([path], label_column=[])
    assert "report" not in without.columns and not without.reports.films
    found = read_vectors([path], report_column=["Findings,impression"])
    assert found.columns["report"] == [
        "Findings: Clear.\n\nImpression: Normal.",
        "Impression: Effusion.",
        None,
    ]
    assert not found.tells_labels  # a column of the report is none of labels
    assert read_vectors([path], report_column=["report"]).columns["report"] == [
        "One. Two.",
        None,
        None,
    ]
    with pytest.raises(BadArtefacts, match=r"no column 'text' \(--report-column\).*findings"):
        read_vectors([path], report_column=["text"])
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(arrow_table(numbers=[1, 2, 3]), numbers)
    with pytest.raises(BadArtefacts, match="expected texts"):
        read_vectors([numbers], report_column=["numbers"])


def test_reports_of_vectors_are_checked_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(arrow_table(report=["Dr. Smith: clear.", "Effusion.", None]), path)
    found = read_vectors([path], report_column=["report"])
    with pytest.raises(UncheckedReports, match="name 1"):
        store_artefacts(found, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    gallery, report = store_artefacts(found, tmp_path / "g", reports_checked=True)
    assert report.inserted == 3 and gallery.row("b").report == "Effusion."
    _, report = store_artefacts(read_vectors([path]), tmp_path / "g")
    assert report.unchanged == 3
