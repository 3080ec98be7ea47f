"""Published layouts with two hundred invented patients each: no film has a row that is not its own.

Every layout is read whole, in part, and from every level of its folders. The judge is the test's
own reading of the tables with ``csv``; films are empty files, as nothing here opens them.
"""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest import ImageFile, Rejection, open_source

PATIENTS = 200
#: Patients whose films are in a copy; of the others there are rows only.
HERE = 40
CHEXPERT = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)
Said = Mapping[str, Any]


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def table(path: Path, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([headings, *rows])


def lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def check(kind: str, place: Path, truth: Callable[[Path], Said | None], **options: Any) -> int:
    """All films below a place, each against what is true of it; how many had a row."""
    items = list(open_source(kind, place, **options).records)
    told = {Path(item.path): item for item in items if isinstance(item, ImageFile)}
    refused = {item.source: item for item in items if isinstance(item, Rejection)}
    wrong = []
    for path in (p.resolve() for p in place.rglob("*") if p.is_file()):
        if path.suffix in (".csv", ".txt"):
            continue
        true = truth(path)
        if path not in told:
            assert true is None, f"{path}: {refused[str(path)]}"
            continue
        assert true is not None, f"{path} has the row of another film"
        said = told[path].metadata
        if any(said.get(name) != value for name, value in true.items()):
            wrong.append((path, {name: said.get(name) for name in true}, true))
    assert not wrong, f"{len(wrong)} films with a row that is not theirs: {wrong[:3]}"
    ids = Counter(item.id for item in told.values())
    assert not [id_ for id_, count in ids.items() if count > 1]
    return len(told)


def levels(root: Path, rng: random.Random, count: int = 5) -> list[Path]:
    """The folder above, the root, and some of the folders below that hold films."""
    below = {folder for path in root.rglob("*") if path.is_file() for folder in path.parents}
    inside = sorted(one for one in below if one.is_relative_to(root) and one != root)
    return [root.parent, root, *rng.sample(inside, min(count, len(inside)))]


# -- CheXpert --------------------------------------------------------------------------------------


def chexpert(top: Path, rng: random.Random, name: str = "CheXpert-v1.0-small") -> None:
    here = set(rng.sample(range(1, PATIENTS + 1), HERE))
    rows: dict[str, list[list[object]]] = {"train": [], "valid": []}
    for patient in range(1, PATIENTS + 1):
        split = "valid" if patient > PATIENTS // 2 else "train"
        for study in range(1, rng.randint(2, 4)):
            for view in ("view1_frontal", "view2_lateral")[: rng.randint(1, 2)]:
                path = f"{split}/patient{patient:05d}/study{study}/{view}.jpg"
                flags = [rng.choice(["1.0", "0.0", "-1.0", ""]) for _ in CHEXPERT[1:]]
                lateral = "lateral" in view
                rows[split].append(
                    [
                        f"{name}/{path}", rng.choice(["Male", "Female"]), rng.randint(18, 90),
                        "Lateral" if lateral else "Frontal", "" if lateral else "AP", "", *flags,
                    ]
                )  # fmt: skip
                if patient in here:
                    put(top / path)
    for split, of_split in rows.items():
        headings = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT]
        table(top / f"{split}.csv", headings, of_split)


def chexpert_truth(top: Path) -> Callable[[Path], Said | None]:
    known: dict[tuple[str, ...], Said] = {}
    for split in ("train", "valid"):
        for row in lines(top / f"{split}.csv"):
            known[tuple(row["Path"].split("/")[-3:])] = {
                "age": float(row["Age"]),
                "sex": row["Sex"][0],
                "patient": "chexpert/" + row["Path"].split("/")[-3],
                "split": {"train": "train", "valid": "val"}[split],
                "labels": tuple(
                    {"Pleural Effusion": "effusion"}.get(one, one.lower())
                    for one in CHEXPERT
                    if row[one] == "1.0"
                ),
            }
    return lambda path: known.get(path.parts[-3:])


@pytest.mark.parametrize("copied_as", ["CheXpert-v1.0-small", "my films"])
def test_chexpert(tmp_path: Path, copied_as: str) -> None:
    rng = random.Random(18)
    top = tmp_path / "sets" / copied_as
    chexpert(top, rng)
    truth = chexpert_truth(top)
    whole = check("chexpert", top, truth)
    assert whole > HERE
    for place in levels(top, rng):
        assert check("chexpert", place, truth) > 0
    # A film has the same id from the whole set and from a part of it.
    study = next(path.parent for path in sorted(top.rglob("*.jpg")))
    part = {item.id for item in open_source("chexpert", study).records}  # type: ignore[union-attr]
    assert part <= {item.id for item in open_source("chexpert", top).records}  # type: ignore[union-attr]
    assert check("chexpert", top / "valid", truth, splits=["val"]) > 0


def test_chexpert_in_another_patients_folder(tmp_path: Path) -> None:
    """Studies moved to patients whose rows do not have them get none."""
    rng = random.Random(19)
    top = tmp_path / "CheXpert-v1.0-small"
    chexpert(top, rng)
    truth = chexpert_truth(top)
    studies = sorted({path.parent for path in (top / "train").rglob("*.jpg")})
    for study in studies[::3]:
        study.rename(study.with_name("study9"))
    for patient in sorted((top / "train").iterdir())[::5]:
        patient.rename(patient.with_name(f"patient{int(patient.name[7:]) + 50_000}"))
    for place in (top, top / "train", studies[1].parent.parent):
        check("chexpert", place, truth)
    lone = studies[0].with_name("study9")
    if lone.is_dir():
        assert check("chexpert", lone, truth) == 0


def test_chexpert_without_folders_is_refused_not_guessed(tmp_path: Path) -> None:
    top = tmp_path / "CheXpert-v1.0-small"
    chexpert(top, random.Random(20))
    flat = tmp_path / "flat"
    put(flat / "view1_frontal.jpg")
    shutil.copy(top / "train.csv", flat)
    (item,) = open_source("chexpert", flat).records
    assert isinstance(item, Rejection) and item.reason == "ambiguous_row"


# -- NIH -------------------------------------------------------------------------------------------


def test_nih(tmp_path: Path) -> None:
    rng = random.Random(14)
    top = tmp_path / "sets" / "nih"
    rows: list[list[object]] = []
    for patient in range(1, PATIENTS + 1):
        for visit in range(rng.randint(1, 3)):
            image = f"{patient:08d}_{visit:03d}.png"
            labels = rng.choice(["No Finding", "Mass", "Effusion|Mass", "Hernia"])
            rows.append(
                [image, labels, visit, patient, rng.randint(1, 95), "MF"[patient % 2], "PA"]
            )
            if patient % (PATIENTS // HERE) == 0:
                put(top / f"images_{1 + patient // 100:03d}" / "images" / image)
    headings = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"]
    table(top / "Data_Entry_2017_v2020.csv", [*headings, "Patient Gender", "View Position"], rows)
    images = [str(row[0]) for row in rows]
    (top / "train_val_list.txt").write_text("\n".join(images[::2]))
    (top / "test_list.txt").write_text("\n".join(images[1::2]))
    known = {
        row["Image Index"]: {
            "patient": f"nih/{row['Patient ID']}",
            "age": float(row["Patient Age"]),
            "sex": row["Patient Gender"],
            "split": ("train", "test")[number % 2],
        }
        for number, row in enumerate(lines(top / "Data_Entry_2017_v2020.csv"))
    }
    for place in levels(top, rng):
        assert check("nih", place, lambda path: known.get(path.name)) > 0


# -- MIMIC-CXR-JPG ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jpg", ".png", ".dcm"])
def test_mimic(tmp_path: Path, ending: str) -> None:
    rng = random.Random(ending)
    top = tmp_path / "mimic-cxr-jpg" / "2.0.0"
    images: list[list[object]] = []
    studies: list[list[object]] = []
    splits: list[list[object]] = []
    for number in range(PATIENTS):
        subject = 10_000_000 + number * 9_973
        for _ in range(rng.randint(1, 2)):
            study = rng.randint(50_000_000, 59_999_999)
            studies.append([subject, study, *(rng.choice(["1.0", "0.0", ""]) for _ in CHEXPERT)])
            for view in ("PA", "LATERAL")[: rng.randint(1, 2)]:
                image = "-".join(f"{rng.getrandbits(32):08x}" for _ in range(5))
                images.append([image, subject, study, view])
                splits.append([image, study, subject, rng.choice(["train", "validate", "test"])])
                if number % (PATIENTS // HERE) == 0:
                    folder = f"files/p{str(subject)[:2]}/p{subject}/s{study}"
                    put(top / folder / f"{image}{ending}")
    name = "mimic-cxr-2.0.0"
    table(
        top / f"{name}-metadata.csv", ["dicom_id", "subject_id", "study_id", "ViewPosition"], images
    )
    table(top / f"{name}-split.csv", ["dicom_id", "study_id", "subject_id", "split"], splits)
    table(top / f"{name}-chexpert.csv", ["subject_id", "study_id", *CHEXPERT], studies)
    of_study = {
        row["study_id"]: tuple(
            {"Pleural Effusion": "effusion"}.get(one, one.lower())
            for one in CHEXPERT
            if row[one] == "1.0"
        )
        for row in lines(top / f"{name}-chexpert.csv")
    }
    known = {
        row["dicom_id"]: {
            "patient": f"mimic/p{row['subject_id']}",
            "view": row["ViewPosition"],
            "labels": of_study[row["study_id"]],
        }
        for row in lines(top / f"{name}-metadata.csv")
    }
    for place in levels(top, rng):
        assert check("mimic-cxr-jpg", place, lambda path: known.get(path.stem)) > 0
    note = str(open_source("mimic-cxr-jpg", top).note)
    assert ("although its ending differs" in note) == (ending != ".jpg")
    # Films whose folders were left behind; and one in the folder of another patient.
    films = sorted(top.rglob(f"*{ending}"))
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in films[:5]:
        shutil.copy(path, flat)
    for path in top.glob("*.csv"):
        shutil.copy(path, flat)
    assert check("mimic-cxr-jpg", flat, lambda path: known.get(path.stem)) == 5
    stranger = films[5].parent / films[20].name
    put(stranger)
    films[20].unlink()
    assert check(
        "mimic-cxr-jpg", films[5].parent, lambda p: None if p == stranger else known[p.stem]
    )


# -- RSNA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".dcm", ".png", ".PNG"])
def test_rsna(tmp_path: Path, ending: str) -> None:
    rng = random.Random(ending)
    top = tmp_path / "rsna"
    boxes: list[list[object]] = []
    classes: list[list[object]] = []
    for number in range(PATIENTS):
        image = f"{rng.getrandbits(64):016x}-{number}"
        name = rng.choice(["Normal", "Lung Opacity", "No Lung Opacity / Not Normal"])
        count = rng.randint(1, 3) if name == "Lung Opacity" else 1
        boxes += [[image, 1, 2, 3, 4, int(name == "Lung Opacity")]] * count
        classes += [[image, name]] * count
        if number % (PATIENTS // HERE) == 0:
            put(top / "stage_2_train_images" / f"{image}{ending}")
            put(top / "stage_2_test_images" / f"{image[::-1]}{ending}")
    table(
        top / "stage_2_train_labels.csv",
        ["patientId", *("x", "y", "width", "height"), "Target"],
        boxes,
    )
    table(top / "stage_2_detailed_class_info.csv", ["patientId", "class"], classes)
    known = {
        row["patientId"]: (row["class"].lower(),)
        for row in lines(top / "stage_2_detailed_class_info.csv")
    }

    def truth(path: Path) -> Said:
        if path.parent.name == "stage_2_test_images":
            return {"split": "test", "labels": None, "patient": f"rsna/{path.stem}"}
        return {"split": "train", "labels": known[path.stem], "patient": f"rsna/{path.stem}"}

    for place in levels(top, rng):
        assert check("rsna", place, truth) > 0


# -- VinDr-CXR -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "folder", "name"),
    [
        (".dicom", "", "train.csv"),
        (".png", "", "train.csv"),
        (".PNG", "annotations", "annotations_train.csv"),
    ],
)
def test_vindr(tmp_path: Path, ending: str, folder: str, name: str) -> None:
    rng = random.Random(ending)
    top = tmp_path / "vindr"
    rows: list[list[object]] = []
    for number in range(PATIENTS):
        image = f"{rng.getrandbits(128):032x}"
        for reader in rng.sample(["R8", "R9", "R10", "R11"], 3):
            found = rng.sample(["Cardiomegaly", "Mass", "Calcification"], rng.randint(0, 2))
            rows += [[image, one, 1, reader, 5] for one in found] or [
                [image, "No finding", 14, reader, ""]
            ]
        if number % (PATIENTS // HERE) == 0:
            put(top / "train" / f"{image}{ending}")
    table(top / folder / name, ["image_id", "class_name", "class_id", "rad_id", "x_min"], rows)
    votes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in lines(top / folder / name):
        votes[row["image_id"]][row["class_name"].lower()].add(row["rad_id"])
    known = {
        image: {one for one, by in found.items() if len(by) >= 2} for image, found in votes.items()
    }

    def truth(path: Path) -> Said:
        return {"labels": known[path.stem], "split": "train"}

    for place in levels(top, rng):
        if folder and place.name == folder:
            continue
        items = list(open_source("vindr", place).records)
        assert items
        for item in items:
            assert isinstance(item, ImageFile)
            true = truth(item.path)
            assert (set(item.metadata["labels"]), item.metadata["split"]) == (
                true["labels"],
                true["split"],
            )


# -- Kermany ---------------------------------------------------------------------------------------


def test_kermany(tmp_path: Path) -> None:
    rng = random.Random(5)
    top = tmp_path / "chest_xray"
    for number in range(HERE):
        split = ("train", "val", "test")[number % 3]
        sick = rng.random() < 0.5
        name = f"person{number}_virus_{number}" if sick else f"IM-{1000 + number}-0001"
        put(top / split / ("PNEUMONIA" if sick else "NORMAL") / f"{name}.jpeg")

    def truth(path: Path) -> Said:
        return {
            "split": path.parent.parent.name,
            "labels": (path.parent.name.lower(),),
            "patient": "kermany/" + re.split(r"_|-0001", path.stem)[0],
        }

    for place in levels(top, rng):
        assert check("kermany", place, truth) > 0


# -- CheXpert and MIMIC as a plain folder with a table ---------------------------------------------


def test_a_table_of_chexpert_through_a_folder(tmp_path: Path) -> None:
    rng = random.Random(21)
    top = tmp_path / "CheXpert-v1.0-small"
    chexpert(top, rng)
    truth = chexpert_truth(top)

    def only(path: Path) -> Said | None:
        said = truth(path)
        return said and {"age": said["age"], "sex": said["sex"]}

    for place in [top / "train", *levels(top / "train", rng, 5)[2:]]:
        assert check(
            "folder",
            place,
            only,
            labels=top / "train.csv",
            columns=["age", "sex"],
            label_column=["Edema,Pneumonia"],
        )
