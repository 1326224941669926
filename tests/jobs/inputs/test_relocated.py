"""Sources that lie below another folder than the run found them in."""

from pathlib import Path

import pytest

from fcos_core.errors import ImageError
from jobs.inputs.relocated import relocate


def write(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return str(path)


def test_the_longest_end_of_a_uri_that_is_a_file_wins(tmp_path: Path):
    write(tmp_path / "1.jpg")
    longest = write(tmp_path / "b/1.jpg")
    assert relocate("/gone/b/1.jpg", str(tmp_path)) == longest


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tgz", "TAR"])
def test_members_of_any_archive_are_looked_for_as_unpacked_files(tmp_path: Path, extension: str):
    unpacked = write(tmp_path / "b/1.jpg")
    assert relocate(f"/gone/a.{extension}#./b/1.jpg", str(tmp_path)) == unpacked


def test_a_row_of_a_table_is_not_looked_for_by_its_number(tmp_path: Path):
    write(tmp_path / "1")
    with pytest.raises(ImageError, match=r"a.parquet#1: not below --image-root"):
        relocate("/gone/a.parquet#1", str(tmp_path))
