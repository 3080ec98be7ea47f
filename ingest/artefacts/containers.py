"""Containers of vectors made elsewhere: files and folders as Arrow tables, one part for each file.

Parquet, Arrow (IPC, Feather), ``npz`` and ``npy`` files; folders of these, in the order of their
names (2 before 10); what the hub's ``datasets`` saved to disk; clip-retrieval's ``img_emb`` and
``metadata``. What ``cxr export`` writes is read by ``ingest.artefacts.folder`` instead. Bytes of
pictures are not read, and nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest import npy
from ingest.artefacts.files import EMBEDDINGS, LABELS, META
from ingest.sources.hub.columns import IDS, is_bytes
from ingest.sources.hub.labels import CLASS_NAMES, LABELLED, plain
from ingest.sources.hub.names import natural, split_in
from store import BadArtefacts, expanded

#: Headings of columns and names of arrays, as ``plain`` writes them.
#: Of vectors, by ``plain``; the first is what arrays without a name are called.
VECTORS = (
    *("embedding", "embeddings", "vector", "vectors", "features", "feature", "emb", "embeds"),
    *("imageembedding", "imageembeddings", "imageembeds", "imgemb", "imagefeatures"),
    *("pooleroutput", "imagevector"),
)
_TABLES = (".parquet", ".arrow", ".feather", ".arrows")
_ENDINGS = (*_TABLES, ".npz")
#: Of clip-retrieval: vectors of images and of captions, and a table for each file of vectors.
_IMAGES, _TEXTS, _ABOUT = "img_emb", "text_emb", "metadata"
#: Of `datasets`: one set of several splits; the files of one split; what its columns mean.
_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
#: How NumPy packs the members of an npz file. Others may inflate a block without bound.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of vectors.

    Attributes:
        table: its columns.
        path: of the file, for messages.
        name: by which rows without an id are called; see made_ids.
        source: by which a row says where it is from, ``<source>#<row>``.
        split: that the names of its file and folders tell; None when they tell none, or several.
        left: columns that were not read.
        notes: sentences for a person.
    """

    table: pa.Table
    path: Path
    name: str
    source: str
    split: str | None = None
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def parts_of(place: str | Path, vectors: str | None = None) -> list[Part]:
    """The vectors in a file or folder, a part for each file.

    Args:
        place: a file or folder.
        vectors: the array of vectors in ``npz`` files; found by its usual names when ``None``.

    Raises:
        BadArtefacts: nothing there that can be read, or files that disagree.
    """
    path = expanded(place)
    if not path.is_dir():
        return [_file(path, path.stem, path.name, vectors=vectors)]
    if (path / _SPLITS).is_file():
        return [
            replace(part, split=split_in(name) or part.split)
            for name in _splits(path)
            for part in _saved(path / name, f"{path.resolve().name}/{name}")
        ]
    if (path / _STATE).is_file() and (path / _INFO).is_file():
        return list(_saved(path, path.resolve().name))
    if (path / _IMAGES).is_dir():
        return list(_clip_retrieval(path))
    if (path / _TEXTS).is_dir():
        raise BadArtefacts(
            f"{path} has no {_IMAGES}, and {_TEXTS} holds vectors of captions, not of films; "
            "expected both or the former: run clip-retrieval inference with --enable_image True"
        )
    return list(_files_below(path, vectors))


def is_container(place: Path) -> bool:
    """Whether a place is for ``parts_of``, and not an export folder."""
    if not place.is_dir():
        return True
    if any((place / name).exists() for name in (EMBEDDINGS, LABELS, META)):
        return False
    marks = (_SPLITS, _STATE, _IMAGES, _TEXTS)
    found = any((place / name).exists() for name in marks) or any(place.glob("*.npy"))
    return found or next(_listed(place), None) is not None


def export_folders(place: Path) -> list[Path]:
    """Export folders right below a folder, such as ``train`` and ``test``, in natural order."""
    found = [path.parent for path in place.glob(f"*/{EMBEDDINGS}")]
    return sorted(found, key=lambda path: natural(path.name))


# -- folders ---------------------------------------------------------------------------------------


def _listed(folder: Path) -> Iterator[Path]:
    """Files of vectors below a folder; hidden ones, and a gallery's own, begin with . and _."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        if path.suffix in _ENDINGS and not hidden and path.is_file():
            yield path


def _files_below(folder: Path, vectors: str | None) -> Iterator[Part]:
    top = folder.resolve().name
    found = sorted(_listed(folder), key=lambda path: natural(path.relative_to(folder).as_posix()))
    arrays = sorted(folder.glob("*.npy"), key=lambda path: natural(path.name))
    if not found and arrays:
        raise BadArtefacts(
            f"{folder} holds npy files, but none that is called {EMBEDDINGS}; name those of "
            f"vectors, such as: cxr import {shlex.quote(str(arrays[0]))}"
        )
    if not found:
        raise BadArtefacts(
            f"{folder} holds no {EMBEDDINGS} and no file that ends in {', '.join(_ENDINGS)}; pass "
            "the folder or the file that holds the vectors"
        )
    for path in found:
        inside = path.relative_to(folder)
        called = f"{top}/{inside.with_suffix('').as_posix()}"
        around = (*inside.parts[-2::-1], top)
        yield _file(path, called, f"{top}/{inside.as_posix()}", around, vectors)


def _splits(folder: Path) -> list[str]:
    names = _json(folder / _SPLITS).get("splits")
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise BadArtefacts(f"{folder / _SPLITS} names no splits; save the data set again")
    return names


def _saved(folder: Path, called: str) -> Iterator[Part]:
    """Arrow files of one split, in the order in which `datasets` lists them."""
    state = _json(folder / _STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise BadArtefacts(
            f"{folder} chooses rows by a file of indices; save it again after flatten_indices()"
        )
    listed = state.get("_data_files")
    names = [str(one.get("filename", "")) for one in listed or () if isinstance(one, dict)]
    if not names or not all(map(_is_name, names)):
        raise BadArtefacts(f"{folder / _STATE} names no data files; save the data set again")
    info = {b"huggingface": json.dumps({"info": _json(folder / _INFO)}).encode()}
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None:
        raise BadArtefacts(
            f"{folder / _STATE} names {missing}, which is not there; copy the whole folder again"
        )
    told = state.get("_split")
    for name in names:
        around = (str(told or ""), folder.resolve().name)
        part = _file(folder / name, f"{called}/{Path(name).stem}", f"{called}/{name}", around)
        metadata = info | (part.table.schema.metadata or {})
        yield replace(part, table=part.table.replace_schema_metadata(metadata))


def _is_name(name: object) -> bool:
    """Whether this is a plain file name: a list must not reach outside its folder."""
    return isinstance(name, str) and Path(name).name == name and name not in ("", "..")


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadArtefacts(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadArtefacts(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


def _clip_retrieval(folder: Path) -> Iterator[Part]:
    """``img_emb/*.npy`` beside ``metadata/*.parquet``, file by file."""
    top = folder.resolve().name
    vectors, tables = (
        sorted((folder / name).glob(f"*{ending}"), key=lambda path: natural(path.name))
        for name, ending in ((_IMAGES, ".npy"), (_ABOUT, ".parquet"))
    )
    if not vectors:
        raise BadArtefacts(f"{folder / _IMAGES} holds no npy files; pass clip-retrieval's folder")
    if tables and len(tables) != len(vectors):
        raise BadArtefacts(
            f"{folder} has {len(vectors)} files in {_IMAGES} and {len(tables)} in {_ABOUT}; "
            "expected one table for each file of vectors"
        )
    notes = [f"{_TEXTS} is not read: vectors of captions, not of films"] * (
        folder / _TEXTS
    ).is_dir() + [f"no {_ABOUT}: rows have neither names nor labels"] * (not tables)
    for place, path in enumerate(vectors):
        inside = f"{top}/{_IMAGES}/{path.name}"
        part = _file(path, f"{top}/{path.stem}", inside, (top,))
        if tables:
            about = _file(tables[place], "", "")
            if len(about.table) != len(part.table):
                raise BadArtefacts(
                    f"{path} has {len(part.table)} vectors, {tables[place]} has "
                    f"{len(about.table)} rows; expected as many"
                )
            whole = about.table.append_column(VECTORS[0], part.table[VECTORS[0]])
            part = replace(part, table=whole, left=about.left)
        yield replace(part, notes=(*part.notes, *notes))


# -- files -----------------------------------------------------------------------------------------


def _file(
    path: Path,
    name: str,
    source: str,
    around: Sequence[str] = (),
    vectors: str | None = None,
) -> Part:
    if not path.is_file():
        raise BadArtefacts(f"{path} is not a file; pass a Parquet or Arrow file")
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if start == b"\x93NUMPY":
            table = _of_arrays({VECTORS[0]: npy.load(path)}, path)
        elif start.startswith(b"PK\x03\x04"):
            table, left, notes = _npz(path, vectors)
        else:
            table, left = _arrow(path, start)
    except (pa.ArrowException, OSError, ValueError, zipfile.BadZipFile) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadArtefacts(
            f"{path} is no sound Parquet or Arrow file, nor an npz or npy file ({detail})"
        ) from error
    return Part(table, path, name, source, split_in(path.stem, *around), left, notes)


def _arrow(path: Path, start: bytes) -> tuple[pa.Table, tuple[str, ...]]:
    """Table of a Parquet or Arrow file without the bytes in it, and columns that were left out."""
    if start.startswith(b"PAR1"):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        wanted = [entry for field in schema for entry in _without_bytes(field)]
        table = file.read(wanted)
    else:
        with pa.memory_map(str(path)) as source:
            opened = (pa.ipc.open_file if start == b"ARROW1" else pa.ipc.open_stream)(source)
            table = opened.read_all()
        schema = table.schema
        table = table.select([field.name for field in schema if not is_bytes(field.type)])
    left = [name for name in schema.names if name not in table.column_names]
    left += [
        f"{field.name}.{part.name}"
        for field in schema
        if pa.types.is_struct(field.type)
        for part in field.type
        if is_bytes(part.type)
    ]
    return table, tuple(left)


def _without_bytes(field: pa.Field) -> list[str]:
    """What to read of a Parquet column: of a picture, its path alone."""
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{part.name}" for part in field.type if not is_bytes(part.type)]
    return [] if is_bytes(field.type) else [field.name]


def _npz(path: Path, asked: str | None) -> tuple[pa.Table, tuple[str, ...], tuple[str, ...]]:
    """Arrays of an npz file that have a value for each vector, as columns; names of the others."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        shapes = {}
        for name, info in members.items():
            with archive.open(info) as member:
                begin, shape, _, dtype = npy.read_header(member)
            if info.compress_type not in _PACKED or (
                not dtype.hasobject and info.file_size != begin + npy.size_of(shape, dtype)
            ):
                raise ValueError(f"array {name!r} is not of the size that its header says")
            shapes[name] = shape, dtype
        vectors = asked or _vectors_among(path, shapes)
        if asked is not None and len(shapes.get(asked, ((),))[0]) != 2:
            raise _no_vectors(path, asked, shapes)
        rows = shapes[vectors][0][0]
        read, left, names = {}, [], {}
        for name, (shape, dtype) in shapes.items():
            usual = plain(name) in (*IDS, *LABELLED)
            if (usual or name == vectors) and dtype.hasobject:
                raise BadArtefacts(
                    f"{path}: array {name!r} holds Python objects, which are never unpickled; save "
                    "it as numbers or as texts (dtype str)"
                )
            fits = len(shape) in (1, 2) and shape[0] == rows and 0 not in shape
            if usual and not fits and not (shape and name in CLASS_NAMES):
                raise BadArtefacts(f"{path}: array {name!r} has shape {shape} for {rows} vectors")
            if name in CLASS_NAMES and len(shape) == 1 and dtype.kind in "US":
                names[name] = _texts(_member(archive, members[name]))
            elif fits and not dtype.hasobject and dtype.kind in "fiubUS":
                read[VECTORS[0] if name == vectors != asked else name] = _member(
                    archive, members[name]
                )
            else:
                left.append(name)
    table = _of_arrays(read, path)
    metadata = {name: json.dumps(one) for name, one in names.items()}
    notes = () if asked or plain(vectors) in VECTORS else (f"{path.name}: vectors are {vectors!r}",)
    return table.replace_schema_metadata(metadata), tuple(left), notes


#: Shape and dtype of each array of an npz file.
_Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


def _vectors_among(path: Path, shapes: _Shapes) -> str:
    """The array of vectors: by its usual name, else the only matrix of floats."""
    found = next((name for usual in VECTORS for name in shapes if plain(name) == usual), None)
    matrices = [
        name for name, (shape, dtype) in shapes.items() if len(shape) == 2 and dtype.kind == "f"
    ]
    if found is None and len(matrices) == 1:
        found = matrices[0]
    if found is None or len(shapes[found][0]) != 2:
        raise _no_vectors(path, "embeddings", shapes)
    return found


def _no_vectors(path: Path, name: str, shapes: _Shapes) -> BadArtefacts:
    there = ", ".join(f"{name} {shape}" for name, (shape, _) in shapes.items())
    return BadArtefacts(
        f"{path} has no array {name!r} of shape (n, d); it has: {there}; name the array of "
        "vectors: --vector-column NAME"
    )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.load(io.BytesIO(archive.read(info)), allow_pickle=False)
    return values


def _texts(values: npt.NDArray[Any]) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in values.tolist()]


def _of_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> pa.Table:
    """Columns of arrays (n,) and (n, c)."""
    columns = {}
    for name, values in arrays.items():
        axes = (2,) if name == VECTORS[0] else (1, 2)
        if values.dtype.hasobject or values.ndim not in axes or 0 in values.shape:
            raise BadArtefacts(
                f"{path} is {values.dtype} of shape {values.shape}, expected float32 (n, d): "
                "a row for each film"
            )
        flat = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).ravel()
        cells = pa.array(_texts(flat) if flat.dtype.kind in "US" else flat)
        if values.ndim == 2 and (values.shape[1] > 1 or name == VECTORS[0]):
            cells = pa.FixedSizeListArray.from_arrays(cells, values.shape[1])
        columns[name] = cells
    return pa.table(columns)
