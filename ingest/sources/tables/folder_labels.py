"""Labels from folder names: the level that holds them, and files that are masks, no films.

A level is a depth below the source: 1 is the first folder. Folders named after a split or after
what they contain (``train``, ``images``) are no labels, whatever their depth.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ingest.images.file_tree import Tree, shown
from ingest.sources.tables import metadata_headings
from ingest.sources.tables.csv_file import listed
from ingest.sources.tables.findings import canonical
from ingest.sources.tables.label_values import check_names
from store import BadSource, UsageError, counted

_MASKS = {
    *("mask", "masks", "segmentation", "segmentations", "seg", "segs", "segment", "segments"),
    *("preview", "previews", "thumbnail", "thumbnails", "thumb", "thumbs", "overlay", "overlays"),
    *("heatmap", "heatmaps", "contour", "contours"),
}
#: Masks where they lie beside a folder of images.
_BESIDE = {"label", "labels", "gt", "groundtruth", "ground truth", "annotation", "annotations"}
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev", "tuning"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "tst", "holdout"), "test"),
}
_FORMATS = {
    *("images", "image", "imgs", "img", "films", "film", "pictures", "picture", "pics", "photos"),
    *("png", "pngs", "jpg", "jpgs", "jpeg", "jpegs", "tif", "tiff", "bmp", "dicom", "dicoms"),
    *("dcm", "files", "file", "raw", "original", "originals", "resized", "processed"),
    *("preprocessed", "cropped", "normalized", "normalised", "enhanced"),
}
_ABOUT = {
    *("chest", "cxr", "cxrs", "xray", "xrays", "radiograph", "radiographs"),
    *("radiography", "scan", "scans", "fold", "folds", "set", "sets", "split", "splits", "part"),
    *("all", "the", "and", "of", "new", "small"),
}
_DATA = {"data", "dataset", "datasets", "database", "collection", "archive", "download"}
#: Folders whose names begin so and end in a number are persons or studies.
_PERSONS = {
    *("patient", "pat", "pt", "subject", "sub", "subj", "person", "case", "study", "exam"),
    *("series", "visit", "id", "p", "s"),
}
#: More folders than these that end in a number are no classes.
_MOST_NUMBERED = 20
_MASK_FILE = re.compile(
    r"(.+?)[-_. ]+(?:(?:left|right|lungs?|infection|manual|binary)[-_. ]?)?"
    r"(?:masks?|seg|segmentation|preview|thumb(?:nail)?|overlay)\d*",
    re.IGNORECASE,
)


@lru_cache(4096)
def _words(name: str) -> tuple[str, ...]:
    return tuple(
        metadata_headings.words(re.sub(r"(?i)\bx[-_ ]?(?=rays?\b)", "x", name.replace("_", " ")))
    )


@lru_cache(4096)
def _split(name: str) -> str | None:
    """The split that a folder is named after; None for another folder."""
    found = _words(name)
    kinds = {_SPLITS[word] for word in found if word in _SPLITS}
    if kinds == {"train", "val"}:
        kinds = {"train"}
    if len(kinds) != 1 or not all(_is_about(word) or word in _SPLITS for word in found):
        return None
    return kinds.pop()


def _is_about(word: str) -> bool:
    return word.isdigit() or word in _FORMATS or word in _ABOUT or word in _DATA


def _is_container(name: str) -> bool:
    """Whether a folder is named after what it contains, and not after a label."""
    found = _words(name)
    if all(word.isdigit() for word in found):
        return False  # 0 and 1 are labels
    return all(_is_about(word) or word in _SPLITS for word in found)


def _is_masks(name: str) -> bool:
    """Whether a folder holds masks: ``lung masks``, ``leftMask``, but not ``Segmentation Data``."""
    found = list(_words(name))
    while found and (found[-1].isdigit() or found[-1] in _FORMATS):
        found.pop()
    if not found:
        return False
    mask = ("mask", "masks")
    return found[-1] in _MASKS or found[-1].endswith(mask) or found[0] in mask


def leave_out_masks(tree: Tree) -> int:
    """Take masks, segmentations and previews out of a tree, into its ``masks``; how many.

    The innermost folder that is named after its content decides: of ``Segmentation/COVID/images``
    and ``Segmentation/COVID/masks`` only the second. A file beside the film that it is a mask of
    (``a_mask.png`` and ``a.png``) is one, too.
    """
    kinds: dict[str, bool] = {}
    images = {
        path[:at]
        for path in {tuple(path.split("/")[:-1]) for path in tree.files}
        for at, name in enumerate(path)
        if _holds_images(name)
    }
    stems = {path.rpartition("/")[2].rpartition(".")[0].casefold() for path in tree.files}

    def is_mask(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in kinds:
            kinds[folder] = _holds_masks(tuple(folder.split("/")), images)
        if kinds[folder]:
            return True
        of_film = _MASK_FILE.fullmatch(name.rpartition(".")[0])
        return of_film is not None and of_film[1].casefold() in stems

    tree.masks = [path for path in tree.files if is_mask(path)]
    left_out = set(tree.masks)
    tree.files = [path for path in tree.files if path not in left_out]
    return len(left_out)


def _holds_masks(folders: tuple[str, ...], images: Collection[tuple[str, ...]]) -> bool:
    """Whether the innermost folder that is named after its content holds masks.

    Args:
        folders: of a file.
        images: paths that hold a folder of images.
    """
    for at, name in reversed([*enumerate(folders)]):
        if _is_masks(name) or (" ".join(_words(name)) in _BESIDE and folders[:at] in images):
            return True
        if _holds_images(name):
            return False
    return False


def _holds_images(name: str) -> bool:
    return _is_container(name) and not _FORMATS.isdisjoint(_words(name))


@dataclass(frozen=True, slots=True)
class FolderLabels:
    """Label and split of each file of a tree, by its folders.

    Attributes:
        of: relative path to label, of the files that have one.
        splits: relative path to split, of the files that have one.
        chosen: the level, as JSON has it: ``folder_level``, ``folders`` with their films.
        notes: what a person should look at, one sentence each.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


def folder_labels(tree: Tree, level: int | None, names: Mapping[str, str]) -> FolderLabels:
    """Choose the level of folders that are labels, and label a tree's files.

    Args:
        tree: without masks.
        level: the depth of the folders that are labels; when None, the uppermost with at least two
            names, folders that are splits or containers left out.
        names: what to call some of the labels instead.

    Raises:
        UsageError: a level that no file has, or names that no folder has.
        BadSource: no level is clearly one of labels, or its folders are patients.
    """
    folders = {path: path.split("/")[:-1] for path in tree.files}
    place = _asked(folders, level) if level is not None else _guessed(tree, folders)
    of = {path: shown(folders[path][at]) for path, at in place.items()}
    of, notes = _one_spelling(of)
    if names:
        notes += check_names(names, set(of.values()), "the level of labels")
        of = {path: names.get(canonical(name), name) for path, name in of.items()}
    levels = sorted({at + 1 for at in place.values()})
    if len(levels) > 1:
        per_level = [
            f"{counted(sum(at + 1 == one for at in place.values()), 'film')} at level {one}"
            for one in levels
        ]
        notes.append(
            f"labels are folder names of several levels ({', '.join(per_level)}); --label-level N "
            "takes one"
        )
    splits = folder_splits(tree)
    chosen = {
        "folder_level": levels[0] if len(levels) == 1 else levels,
        "folders": dict(sorted(Counter(of.values()).items())),
    }
    return FolderLabels(of, splits, chosen, notes)


def folder_splits(tree: Tree) -> dict[str, str]:
    """Relative path to split, of the files below a folder that is named after one."""
    folders = {path: path.split("/")[:-1] for path in tree.files}
    siblings = _sibling_splits(folders.values())
    found = {path: _split_of(names, siblings) for path, names in folders.items()}
    return {path: split for path, split in found.items() if split}


def _one_spelling(of: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Labels of which none differs from another in capitals alone: the most frequent spelling."""
    counts = Counter(of.values())
    usual: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        usual.setdefault(name.casefold(), name)
    if len(usual) == len(counts):
        return of, []
    others = sorted(counts.keys() - usual.values())
    taken = listed([usual[name.casefold()] for name in others])
    note = f"folders {listed(others)} were taken for {taken}"
    return {path: usual[name.casefold()] for path, name in of.items()}, [note]


def _asked(folders: Mapping[str, Sequence[str]], level: int) -> dict[str, int]:
    deepest = max((len(found) for found in folders.values()), default=0)
    if not 1 <= level <= max(deepest, 1):
        raise UsageError(
            f"--label-level {level}: expected 1 (the first folder below the source) to {deepest}"
        )
    return {path: level - 1 for path, found in folders.items() if len(found) >= level}


def _guessed(tree: Tree, folders: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Depth of each file's label; by the strictest reading of containers that leaves labels."""
    refused = None
    splits = _sibling_splits(folders.values())
    for loosely in (True, False):
        left = {
            path: [
                at
                for at, name in enumerate(found)
                if name not in splits and not _passed_over(name, loosely)
            ]
            for path, found in folders.items()
        }
        for step in range(max(map(len, left.values()), default=0)):
            place = {path: found[step] for path, found in left.items() if len(found) > step}
            labels = Counter(folders[path][at] for path, at in place.items())
            if len(labels) < 2:
                continue
            if not _are_persons(labels):
                return place
            refused = refused or labels
            break
    if refused:
        raise BadSource(
            f"the folders below {tree.root} are {len(refused):,} for {sum(refused.values()):,} "
            f"films ({_some(refused)}): patients rather than labels; choose a level with "
            f"--label-level N ({_overview(folders)}), or pass --labels FILE.csv"
        )
    raise BadSource(
        f"no level of folders below {tree.root} has two names that are labels; choose one with "
        f"--label-level N ({_overview(folders)}), or pass --labels FILE.csv"
    )


@lru_cache(4096)
def _passed_over(name: str, loosely: bool) -> bool:
    # "Lung Segmentation Data" contains, but "normal data" may be all the label there is.
    return (
        _split(name) is not None
        or _is_container(name)
        or (loosely and (_words(name) or ("",))[-1] in _DATA)
    )


def _are_persons(labels: Counter[str]) -> bool:
    """Whether folders are as many as films, about, or are numbered persons."""
    films = sum(labels.values())
    numbered = [_words(name) for name in labels]
    persons = sum(
        len(found) > 1 and found[0] in _PERSONS and found[1].isdigit() for found in numbered
    )
    if persons == len(labels) or (len(labels) > 2 and 2 * persons > len(labels)):
        return True
    counted = sum(all(word.isdigit() for word in found[-1:]) for found in numbered)
    if len(labels) > _MOST_NUMBERED and 2 * counted > len(labels):
        return True
    coded = sum(sum(map(str.isdigit, name)) > 2 for name in labels)
    fewest = 3 if 2 * coded > len(labels) else 8
    return len(labels) >= fewest and 2 * len(labels) > films


def _some(labels: Counter[str]) -> str:
    first = [shown(name) for name in sorted(labels)[:3]]
    return ", ".join(first) + (", …" if len(labels) > 3 else "")


def _overview(folders: Mapping[str, Sequence[str]]) -> str:
    """The names of each level, few of each."""
    deepest = max(map(len, folders.values()), default=0)
    levels = []
    for at in range(deepest):
        names = Counter(found[at] for found in folders.values() if len(found) > at)
        levels.append(f"{at + 1}: {len(names):,} names, {_some(names)}")
    return "; ".join(levels) or "no file lies in a folder"


def _sibling_splits(paths: Iterable[Sequence[str]]) -> dict[str, str]:
    """Folders side by side that differ in their split alone: ``covid_train`` and ``covid_test``."""
    beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in {tuple(path) for path in paths}:
        for at, name in enumerate(path):
            beside[path[:at]].add(name)
    found: dict[str, str] = {}
    for names in beside.values():
        kinds = {
            name: [_SPLITS[word] for word in _words(name) if word in _SPLITS] for name in names
        }
        rest = {tuple(word for word in _words(name) if word not in _SPLITS) for name in names}
        single = all(len(kind) == 1 for kind in kinds.values())
        if len(names) > 1 and len(rest) == 1 and single:
            found.update((name, kind[0]) for name, kind in kinds.items())
    return found


def _split_of(folders: Sequence[str], siblings: Mapping[str, str]) -> str | None:
    """The innermost folder that is a split."""
    splits = (siblings.get(name) or _split(name) for name in reversed(folders))
    return next((split for split in splits if split), None)
