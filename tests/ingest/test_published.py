"""The published layouts, on small trees in exactly their form."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import ImageFile, Rejection, Source, ingest, open_source
from store import BadSource, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import film, png, write


def sort(source: Source) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    items = list(source.records)
    assert len(items) == source.total
    for item in items:
        if isinstance(item, Rejection):
            refused[item.source] = item.reason
        else:
            assert isinstance(item, ImageFile) and item.id is not None
            found[item.id] = dict(item.metadata)
    return found, refused


def of(found: dict[str, dict[str, Any]], *names: str) -> dict[str, tuple[Any, ...]]:
    return {id_: tuple(one.get(name) for name in names) for id_, one in found.items()}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


# -- NIH ChestX-ray14 ------------------------------------------------------------------------------

NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]{end}\n"
    "00000001_000.png,Cardiomegaly,0,1,{age},M,PA,2682,2749,0.143,0.143{end}\n"
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,{age},M,PA,2894,2729,0.143,0.143{end}\n"
    "00000002_000.png,No Finding,0,2,{old},F,AP,2500,2048,0.168,0.168{end}\n"
    "00000003_000.png,Pleural_Thickening|Infiltration,0,3,013M,F,AP,2500,2048,0.168,0.168{end}\n"
    "00000004_000.png,Mass,0,4,60,M,PA,2500,2048,0.168,0.168{end}\n"
)


@pytest.mark.parametrize(
    ("name", "age", "old", "end"),
    [("Data_Entry_2017_v2020.csv", "57", "81", ""), ("Data_Entry_2017.csv", "057Y", "414Y", ",")],
)
def test_nih(tmp_path: Path, gallery: Gallery, name: str, age: str, old: str, end: str) -> None:
    write(tmp_path, f"d/{name}", NIH.format(age=age, old=old, end=end))
    write(
        tmp_path, "d/train_val_list.txt", "00000001_000.png\n00000001_001.png\n00000003_000.png\n"
    )
    write(tmp_path, "d/test_list.txt", "00000002_000.png\n00000004_000.png")
    write(
        tmp_path,
        "d/BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,1,2,3,4,,,\n",
    )
    for number, image in enumerate(("1_000", "1_001", "2_000", "3_000")):
        folder = f"images_00{1 + number // 2}/images"
        write(tmp_path, f"d/{folder}/0000000{image}.png", png(number, 16))
    source = open_source("nih", tmp_path / "d")
    found, refused = sort(source)
    old_age = 81.0 if old == "81" else None
    top = "nih-chestxray14/images_00"
    assert of(found, "labels", "split", "patient", "view", "sex", "age", "dataset") == {
        f"{top}1/images/00000001_000.png": (
            *(("cardiomegaly",), "train", "nih/1", "PA", "M", 57.0, "nih-chestxray14"),
        ),
        f"{top}1/images/00000001_001.png": (
            *(("cardiomegaly", "emphysema"), "train", "nih/1", "PA", "M", 57.0, "nih-chestxray14"),
        ),
        f"{top}2/images/00000002_000.png": (
            *(("no finding",), "test", "nih/2", "AP", "F", old_age, "nih-chestxray14"),
        ),
        f"{top}2/images/00000003_000.png": (
            *(("pleural thickening", "infiltration"), "train", "nih/3", "AP", "F"),
            *(1.083, "nih-chestxray14"),
        ),
    }
    assert not refused
    assert "1 of 5 images in" in str(source.note)
    assert ("1 age is not a number of years" in str(source.note)) == (old == "414Y")
    only = sort(open_source("nih", tmp_path / "d", splits=["test"]))
    assert list(only[0]) == [f"{top}2/images/00000002_000.png"] and not only[1]
    report = ingest(open_source("nih", tmp_path / "d"), gallery, FakeEncoder())
    assert (report.inserted, report.rejected) == (4, [])


def test_a_strange_image_beside_the_published_ones(tmp_path: Path) -> None:
    write(tmp_path, "Data_Entry_2017_v2020.csv", NIH.format(age="1", old="2", end=""))
    stranger = write(tmp_path, "images/selfie.png", png())
    write(tmp_path, "images/00000004_000.png", png())
    found, refused = sort(open_source("nih", tmp_path))
    assert len(found) == 1 and refused == {str(stranger.resolve()): "label_missing"}


# -- CheXpert --------------------------------------------------------------------------------------

CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)


@pytest.mark.parametrize("top", ["", "CheXpert-v1.0-small/"])
def test_chexpert(tmp_path: Path, top: str) -> None:
    name = "CheXpert-v1.0-small/train/patient00001/study1"
    rows = (
        f"{name}/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
        f"{name}/view2_lateral.jpg,Unknown,0,Lateral,,,,-1.0,1.0,,-1.0,,,,,1.0,,,\n"
        "CheXpert-v1.0-small/train/patient00002/study3/view1_frontal.jpg,Male,87,Frontal,LL,"
        ",,,,,,,,,,,,,\n"
    )
    write(tmp_path, f"{top}train.csv", CHEXPERT + rows)
    write(
        tmp_path,
        f"{top}valid.csv",
        CHEXPERT + "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,"
        "Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n",
    )
    images = (
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00001/study1/view2_lateral.jpg",
        "train/patient00002/study3/view1_frontal.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    )
    for number, image in enumerate(images):
        write(tmp_path, top + image, png(number, 16))
    found, refused = sort(open_source("chexpert", tmp_path))
    assert not refused
    assert of(found, "labels", "absent", "uncertain", "split", "patient", "view", "sex", "age") == {
        f"chexpert/{top}{images[0]}": (
            *(("no finding", "support devices"), ("pneumothorax",), (), "train"),
            *("chexpert/patient00001", "AP", "F", 68.0),
        ),
        f"chexpert/{top}{images[1]}": (
            *(("lung opacity", "effusion"), (), ("cardiomegaly", "edema"), "train"),
            *("chexpert/patient00001", "LATERAL", None, None),
        ),
        f"chexpert/{top}{images[2]}": (
            *((), (), (), "train", "chexpert/patient00002", "LATERAL", "M", 87.0),
        ),
        f"chexpert/{top}{images[3]}": (
            ("enlarged cardiomediastinum", "cardiomegaly", "lung opacity"),
            found[f"chexpert/{top}{images[3]}"]["absent"],
            *((), "val", "chexpert/patient64541", "AP", "M", 73.0),
        ),
    }
    assert len(found[f"chexpert/{top}{images[3]}"]["absent"]) == 11
    counted = sort(open_source("chexpert", tmp_path, uncertain="present", splits=["train"]))
    assert len(counted[0]) == 3 and not counted[1]
    assert "edema" in counted[0][f"chexpert/{top}{images[1]}"]["labels"]


# -- MIMIC-CXR-JPG ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_mimic(tmp_path: Path, packed: bool) -> None:
    ids = (
        "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014",
        "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962",
    )
    tables = {
        "metadata": "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition\n"
        f"{ids[0]},10000032,50414267,CHEST (PA AND LAT),PA\n"
        f"{ids[1]},10000032,50414267,CHEST (PA AND LAT),LATERAL\n"
        "ffffffff-0-0-0-0,10000764,57375967,CHEST,AP\n",
        "split": f"dicom_id,study_id,subject_id,split\n{ids[0]},50414267,10000032,train\n"
        f"{ids[1]},50414267,10000032,validate\n",
        "chexpert": "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,"
        "Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,"
        "Pleural Other,Pneumonia,Pneumothorax,Support Devices\n"
        "10000032,50414267,,,,-1.0,,,,,,1.0,,0.0,,\n",
    }  # fmt: skip
    for kind, text in tables.items():
        data = gzip.compress(text.encode()) if packed else text.encode()
        write(tmp_path, f"mimic-cxr-2.0.0-{kind}.csv" + (".gz" if packed else ""), data)
    for number, image in enumerate(ids):
        write(tmp_path, f"files/p10/p10000032/s50414267/{image}.jpg", png(number, 16))
    source = open_source("mimic-cxr-jpg", tmp_path)
    found, refused = sort(source)
    assert not refused and "must not be passed on" in str(source.note)
    top = "mimic-cxr-jpg/files/p10/p10000032/s50414267/"
    assert of(found, "labels", "absent", "uncertain", "split", "patient", "view") == {
        f"{top}{image}.jpg": (
            *(("effusion",), ("pneumonia",), ("edema",), split, "mimic/p10000032", view),
        )
        for image, split, view in zip(ids, ("train", "val"), ("PA", "LATERAL"), strict=True)
    }


# -- VinDr-CXR -------------------------------------------------------------------------------------

VALUES = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)


def vindr_film(number: int, **tags: Any) -> bytes:
    return film(VALUES + number, SOPInstanceUID=f"1.2.{number}", PatientSex="F", **tags)


def test_vindr_boxes_of_three_readers(tmp_path: Path, gallery: Gallery) -> None:
    write(
        tmp_path,
        "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "aaaa,Cardiomegaly,3,R9,1,1,5,5\naaaa,Cardiomegaly,3,R9,2,2,6,6\n"
        "aaaa,Cardiomegaly,3,R10,1,1,5,5\naaaa,Pleural effusion,10,R8,1,1,5,5\n"
        "bbbb,No finding,14,R1,,,,\nbbbb,No finding,14,R2,,,,\nbbbb,No finding,14,R3,,,,\n",
    )
    write(tmp_path, "train/aaaa.dicom", vindr_film(1, PhotometricInterpretation="MONOCHROME1"))
    write(tmp_path, "train/bbbb.dicom", vindr_film(2, PatientAge="061Y"))
    source = open_source("vindr", tmp_path)
    found, refused = sort(source)
    assert not refused
    assert of(found, "labels", "uncertain", "split") == {
        "vindr-cxr/train/aaaa.dicom": (("cardiomegaly",), ("effusion",), "train"),
        "vindr-cxr/train/bbbb.dicom": (("no finding",), (), "train"),
    }
    assert ingest(open_source("vindr", tmp_path), gallery, FakeEncoder()).inserted == 2
    row = gallery.row("vindr-cxr/train/bbbb.dicom")
    assert (row.sex, row.age, row.labels) == ("F", 61.0, ("no finding",))
    again = ingest(open_source("vindr", tmp_path), gallery, FakeEncoder())
    assert (again.unchanged, again.encoded) == (2, 0)
    gallery.refresh()
    assert gallery.row("vindr-cxr/train/bbbb.dicom").age == 61.0


def test_vindr_ticks(tmp_path: Path) -> None:
    write(
        tmp_path,
        "annotations/image_labels_train.csv",
        "image_id,rad_id,Cardiomegaly,Pleural effusion,No finding\n"
        "aaaa,R1,1,0,0\naaaa,R2,1,1,0\naaaa,R3,0,0,0\n",
    )
    write(
        tmp_path,
        "annotations/image_labels_test.csv",
        "image_id,Cardiomegaly,Pleural effusion,No finding\nbbbb,0,0,1\n",
    )
    write(tmp_path, "train/aaaa.dicom", vindr_film(1))
    write(tmp_path, "test/bbbb.dicom", vindr_film(2))
    found, refused = sort(open_source("vindr", tmp_path))
    assert not refused
    assert of(found, "labels", "absent", "uncertain", "split") == {
        "vindr-cxr/test/bbbb.dicom": (("no finding",), ("cardiomegaly", "effusion"), (), "test"),
        "vindr-cxr/train/aaaa.dicom": (("cardiomegaly",), ("no finding",), ("effusion",), "train"),
    }
    assert list(sort(open_source("vindr", tmp_path, splits=["test"]))[0]) == [
        "vindr-cxr/test/bbbb.dicom"
    ]


# -- RSNA ------------------------------------------------------------------------------------------


def test_rsna(tmp_path: Path, gallery: Gallery) -> None:
    a, b, c, d = (f"{letter}-0004cfab" for letter in "abcd")
    write(
        tmp_path,
        "stage_2_train_labels.csv",
        f"patientId,x,y,width,height,Target\n{a},,,,,0\n{b},264,152,213,379,1\n"
        f"{b},562,152,256,453,1\n{c},,,,,0\n",
    )
    write(
        tmp_path,
        "stage_2_detailed_class_info.csv",
        f"patientId,class\n{a},No Lung Opacity / Not Normal\n{b},Lung Opacity\n{b},Lung Opacity\n"
        f"{c},Normal\n",
    )
    for number, image in enumerate((a, b, c)):
        tags = {"Modality": "CR", "PatientAge": "51", "ViewPosition": "PA"}
        write(tmp_path, f"stage_2_train_images/{image}.dcm", vindr_film(number, **tags))
    write(tmp_path, f"stage_2_test_images/{d}.dcm", vindr_film(9))
    found, refused = sort(open_source("rsna", tmp_path))
    assert not refused
    top = "rsna-pneumonia/stage_2_train_images"
    assert of(found, "labels", "split", "patient") == {
        f"{top}/{a}.dcm": (("no lung opacity / not normal",), "train", f"rsna/{a}"),
        f"{top}/{b}.dcm": (("lung opacity",), "train", f"rsna/{b}"),
        f"{top}/{c}.dcm": (("normal",), "train", f"rsna/{c}"),
        f"rsna-pneumonia/stage_2_test_images/{d}.dcm": (None, "test", f"rsna/{d}"),
    }
    assert ingest(open_source("rsna", tmp_path), gallery, FakeEncoder()).inserted == 4
    row = gallery.row(f"{top}/{b}.dcm")
    assert (row.labels, row.age, row.view, row.sex) == (("lung opacity",), 51.0, "PA", "F")
    assert row.patient == f"rsna/{b}"


# -- Kermany ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "chest_xray/"])
def test_kermany(tmp_path: Path, top: str) -> None:
    images = {
        "train/NORMAL/IM-0115-0001.jpeg": (("normal",), "train", "kermany/IM-0115"),
        "train/PNEUMONIA/person1_bacteria_1.jpeg": (("pneumonia",), "train", "kermany/person1"),
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg": (("normal",), "val", "kermany/NORMAL2-IM-1427"),
        "test/PNEUMONIA/person1_virus_6.jpeg": (("pneumonia",), "test", "kermany/person1"),
    }
    for number, image in enumerate(images):
        write(tmp_path, top + image, png(number, 16))
        write(tmp_path, f"{top}chest_xray/{image}", png(number, 16))
        write(tmp_path, f"{top}__MACOSX/{image}", b"\0\5\x16\7")
    source = open_source("kermany", tmp_path)
    found, refused = sort(source)
    assert not refused and "4 files of a second copy" in str(source.note)
    assert of(found, "labels", "split", "patient") == {
        f"kermany/{image}": said for image, said in images.items()
    }
    assert list(sort(open_source("kermany", tmp_path, splits=["val"]))[0]) == [
        "kermany/val/NORMAL/NORMAL2-IM-1427-0001.jpeg"
    ]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nih", "chexpert", "mimic-cxr-jpg", "vindr", "rsna", "kermany"])
def test_another_folder(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "a.png", png())
    with pytest.raises(BadSource, match="holds no"):
        open_source(kind, tmp_path)
    with pytest.raises(BadSource, match=r"not a folder|does not exist"):
        open_source(kind, tmp_path / "none")
    with pytest.raises(UsageError, match="splits must be some of"):
        write(tmp_path, "Data_Entry_2017.csv", NIH.format(age="1", old="2", end=""))
        open_source("nih", tmp_path, splits=["dev"])


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    write(tmp_path, "Data_Entry_2017.csv", "image,label\na.png,x\n")
    with pytest.raises(BadSource, match="lacks the columns 'Image Index'"):
        open_source("nih", tmp_path)
