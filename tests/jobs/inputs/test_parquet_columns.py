"""Parquet inputs as pandas, Polars and Hugging Face write them, and columns that the user names."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError, ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.inputs.sources import Listing, enumerate_inputs
from jobs.planning.defaults import explicit_fields
from jobs.planning.manifest import make_manifest
from jobs.settings.detect import DetectConfig
from tests.jobs.storage.encrypted import encrypted

NAMES = ["b.jpg", "a.jpg", "b.jpg"]
DATA = [b"bee", b"ay", b"bee"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"ay")
    (tmp_path / "b.jpg").write_bytes(b"bee")
    return tmp_path


def write(folder: Path, columns: dict[str, pa.Array], **options: object) -> Path:
    """Write two row groups, or one where pyarrow cannot split such a type."""
    path, table = folder / "p.parquet", pa.table(columns)
    for num_rows in (2, table.num_rows):
        try:
            pq.write_table(table, path, row_group_size=num_rows, **options)
        except pa.ArrowNotImplementedError as error:
            reason = str(error)
        else:
            return path
    pytest.skip(f"pyarrow {pa.__version__} cannot write it: {reason}")


def read(listing: Listing) -> dict[str, bytes]:
    return {entry.uri: read_item_bytes(entry) for entry in make_manifest(listing, 4)}


def as_kind(values: list[object], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind.value_type if pa.types.is_dictionary(kind) else kind).cast(kind)


TEXTS = [
    pytest.param(pa.string(), id="string"),
    pytest.param(pa.large_string(), id="large string"),
    pytest.param(pa.string_view(), id="string view"),
    pytest.param(pa.dictionary(pa.int8(), pa.string()), id="pandas category"),
    pytest.param(pa.dictionary(pa.uint32(), pa.large_string()), id="Polars category"),
]
BYTES = [
    pytest.param(pa.binary(), id="binary"),
    pytest.param(pa.large_binary(), id="large binary"),
    pytest.param(pa.binary_view(), id="binary view"),
    pytest.param(pa.dictionary(pa.int32(), pa.binary()), id="dictionary"),
]


@pytest.mark.parametrize("kind", TEXTS)
def test_a_column_of_uris_of_every_text_type_is_followed(folder: Path, kind: pa.DataType):
    path = write(folder, {"uri": as_kind(NAMES, kind)})
    listing = enumerate_inputs([str(path)])
    assert read(listing) == {f"{folder}/b.jpg": b"bee", f"{folder}/a.jpg": b"ay"}
    assert listing.repeated == 1


@pytest.mark.parametrize("kind", BYTES)
def test_images_of_every_type_of_bytes_are_read(folder: Path, kind: pa.DataType):
    path = write(folder, {"image": as_kind(DATA, kind)})
    assert list(read(enumerate_inputs([str(path)])).values()) == DATA


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("binary", BYTES)
@pytest.mark.parametrize("has_statistics", [True, False])
def test_a_struct_without_bytes_names_the_file_by_its_path(
    folder: Path, binary: pa.DataType, text: pa.DataType, *, has_statistics: bool
):
    data = as_kind([b"inside", None, None, None, b"last"], binary)
    names = as_kind(["a.jpg", "b.jpg", str(folder / "a.jpg"), "gone.jpg", None], text)
    image = pa.StructArray.from_arrays([names, data], ["path", "bytes"])
    path = write(folder, {"image": image}, write_statistics=has_statistics)

    listing = enumerate_inputs([str(path)])

    assert [(item.uri, item.size_bytes) for item in listing.items] == [
        (f"{path}#0", None),
        (f"{folder}/b.jpg", 3),
        (f"{folder}/a.jpg", 2),
        (f"{folder}/gone.jpg", None),
        (f"{path}#4", None),
    ]
    read_back = [
        read_item_bytes(item) for item in make_manifest(listing, 8) if "gone" not in item.uri
    ]
    assert read_back == [b"inside", b"bee", b"ay", b"last"]


def test_a_row_of_a_struct_with_neither_bytes_nor_path_is_an_error_of_its_item(folder: Path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = write(folder, {"image": pa.array([{"bytes": None, "path": None}, None], kind)})
    items = make_manifest(enumerate_inputs([str(path)]), 4)
    assert [item.uri for item in items] == [f"{path}#0", f"{path}#1"]
    for item in items:
        with pytest.raises(ImageError, match=r"column image(.bytes)? is null"):
            read_item_bytes(item)


@pytest.mark.parametrize(
    "photo",
    [
        pytest.param(pa.array(DATA), id="bytes"),
        pytest.param(pa.array([{"bytes": data} for data in DATA]), id="struct of bytes"),
        pytest.param(pa.array([{"bytes": data, "path": "x"} for data in DATA]), id="struct"),
    ],
)
def test_a_named_column_of_images_counts_before_the_usual_names(folder: Path, photo: pa.Array):
    path = write(folder, {"image": pa.array([b"x"] * 3), "my photo": photo})
    listing = enumerate_inputs([str(path)], image_column="my photo")
    # The uri names the column: a later reader of the row needs no setting.
    assert read(listing) == {f"{path}#my photo#{row}": data for row, data in enumerate(DATA)}


@pytest.mark.parametrize(
    "named", [pa.array(NAMES), pa.array([{"path": name} for name in NAMES])], ids=["text", "struct"]
)
def test_a_named_column_of_names_is_followed(folder: Path, named: pa.Array):
    path = write(folder, {"uri": pa.array(["x"] * 3), "file_name": named})
    listing = enumerate_inputs([str(path)], image_column="file_name")
    assert list(read(listing)) == [f"{folder}/b.jpg", f"{folder}/a.jpg"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "it has label (int64), photo (binary); name one with --image-column"),
        (
            "foto",
            "no column 'foto' of bytes, of text, or a struct with bytes or path; it has label",
        ),
        ("label", "no column 'label' of bytes"),
    ],
)
def test_a_file_without_such_a_column_is_refused_with_those_it_has(
    folder: Path, column: str | None, message: str
):
    path = write(folder, {"label": pa.array([1, 2, 3]), "photo": pa.array(DATA)})
    with pytest.raises(ConfigError, match=re.escape(message)):
        enumerate_inputs([str(path)], image_column=column)


IMAGES = pa.StructArray.from_arrays([NAMES, DATA], ["path", "bytes"])
PATHS = pa.StructArray.from_arrays([NAMES, pa.nulls(3, pa.binary())], ["path", "bytes"])
MIXED = pa.StructArray.from_arrays([NAMES, [b"bee", None, b"bee"]], ["path", "bytes"])


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("has_statistics", [True, False])
@pytest.mark.parametrize("image", [IMAGES, PATHS, MIXED], ids=["bytes", "paths", "mixed"])
@pytest.mark.parametrize("name", ["image.path", "image.bytes", "image.path.x", "image.bytes.x"])
def test_a_column_that_is_called_like_a_field_of_the_struct_is_another_one(
    folder: Path, name: str, image: pa.Array, *, has_statistics: bool, is_first: bool
):
    for other in (pa.array([b"x", None, b"y"]), pa.array(["x", None, "y"]), pa.array([1, 2, 3])):
        columns = {name: other, "image": image}
        if not is_first:
            columns = dict(reversed(columns.items()))
        path = write(folder, columns, write_statistics=has_statistics)
        listing = enumerate_inputs([str(path)])
        names = image.field("path").to_pylist()
        inside = image.field("bytes").to_pylist()
        uris = [
            f"{path}#{row}" if own is not None else f"{folder}/{names[row]}"
            for row, own in enumerate(inside)
        ]
        assert [item.uri for item in listing.items] == list(dict.fromkeys(uris))
        found = read(listing)
        assert [found[uri] for uri in uris] == DATA


@pytest.mark.parametrize(
    ("column", "expected"),
    [("my.image", DATA), ("my", DATA[::-1]), ("my.image.x", [b"other"] * 3), ("a.b", DATA)],
)
def test_a_named_column_may_have_dots_in_its_name(folder: Path, column: str, expected: list[bytes]):
    columns = {
        "my.image.x": pa.array([b"other"] * 3),
        "my": pa.array([{"image": b"z", "bytes": data} for data in DATA[::-1]]),
        "my.image": pa.array(DATA),
        "a.b.bytes": pa.array([b"z"] * 3),
        "a.b": pa.array([{"bytes": data} for data in DATA]),
    }
    listing = enumerate_inputs([str(write(folder, columns))], image_column=column)
    assert list(read(listing).values()) == expected


@pytest.mark.parametrize(
    ("columns", "hidden", "message"),
    [
        ({"bytes": DATA, "n": [1, 2, 3]}, "bytes", "column bytes is unreadable"),
        ({"n": [1, 2, 3], "uri": NAMES}, "uri", "column uri is unreadable"),
        ({"n": [1, 2, 3], "image": IMAGES}, "image.bytes", "column image.bytes is unreadable"),
        ({"n": [1, 2, 3], "image": MIXED}, "image.path", "column image.path is unreadable"),
    ],
)
def test_an_encrypted_column_of_images_is_refused_in_one_line(
    folder: Path, columns: dict[str, object], hidden: str, message: str
):
    path = folder / "p.parquet"
    path.write_bytes(encrypted(pa.table(columns), [hidden]))
    with pytest.raises(ConfigError) as caught:
        enumerate_inputs([str(path)])
    assert str(caught.value) == (
        f"input {path}: {message}: "
        "Cannot decrypt ColumnMetadata. FileDecryption is not setup correctly"
    )


@pytest.mark.parametrize("image", [IMAGES, MIXED], ids=["bytes", "mixed"])
def test_images_beside_an_encrypted_column_are_read(folder: Path, image: pa.Array):
    path = folder / "p.parquet"
    table = pa.table({"secret": ["x"] * 3, "image": image, "other": [1, 2, 3]})
    path.write_bytes(encrypted(table, ["secret", "other"]))
    assert list(read(enumerate_inputs([str(path)])).values()) == DATA


def test_a_file_with_a_column_whose_name_is_not_utf_8_is_refused_in_one_line(folder: Path):
    path = folder / "p.parquet"
    pq.write_table(pa.table({"bytes": DATA, "note1": DATA}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"note1", b"not\xe91"))
    with pytest.raises(ConfigError) as caught:
        enumerate_inputs([str(path)])
    assert str(caught.value) == f"input {path}: the name of a column is not UTF-8"


def test_a_column_is_named_for_parquet_inputs_only(folder: Path):
    with pytest.raises(ConfigError, match="'photo' is given, but no input is a Parquet file"):
        enumerate_inputs([str(folder)], image_column="photo")


def test_the_named_column_is_one_of_the_settings_that_decide_rows(folder: Path):
    config = DetectConfig(inputs=("p.parquet",), out=str(folder), image_column="photo")
    assert explicit_fields(config)["image_column"] == "photo"
