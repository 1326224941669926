"""No member of a tar archive is lost in silence: it is an item, it is counted, or it is refused."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError, ImageError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.inputs.sources import Listing, enumerate_inputs
from jobs.planning.manifest import make_manifest
from jobs.rundir.rows import ManifestItem
from tests.jobs.inputs import tar_bytes as tar
from tests.jobs.inputs.tar_bytes import END, Extents

CASES = "cases/tar-lost-members"


def write(folder: Path, *parts: bytes) -> Path:
    path = folder / "a.tar"
    path.write_bytes(b"".join(parts))
    return path


def listing_of(path: Path) -> Listing:
    return enumerate_inputs([str(path)])


def read_all(path: Path) -> dict[str, bytes]:
    manifest = make_manifest(listing_of(path), 8)
    return {entry.uri.removeprefix(f"{path}#"): read_item_bytes(entry) for entry in manifest}


def read_one(path: Path, name: str) -> bytes:
    item = ManifestItem(item_id=0, shard=0, kind="image", uri=f"{path}#{name}", image_id=1)
    return read_item_bytes(item)


@pytest.mark.parametrize(
    ("target", "link"),
    [
        ("./b.jpg", tar.hard_link),
        ("b.jpg", tar.symlink),
        ("sub/../b.jpg", tar.symlink),
        ("second.jpg", tar.symlink),
        ("third.jpg", tar.hard_link),
        ("latest/c.jpg", tar.symlink),
        ("alias/../b.jpg", tar.symlink),
    ],
)
def test_a_link_gives_the_content_of_its_target(
    tmp_path: Path, target: str, link: Callable[[str, str], bytes]
):
    path = write(
        tmp_path,
        tar.file("./b.jpg", b"content"),
        tar.symlink("second.jpg", "./b.jpg"),
        tar.hard_link("third.jpg", "b.jpg"),
        tar.file("sub/c.jpg", b"content"),
        tar.symlink("latest", "sub"),
        tar.symlink("alias", "sub/deeper"),
        tar.header("sub/deeper/", kind=tarfile.DIRTYPE),
        tar.file("sub/b.jpg", b"content"),
        link("a.jpg", target),
        END,
    )
    assert read_all(path)["a.jpg"] == b"content"
    sizes = {item.uri.removeprefix(f"{path}#"): item.size_bytes for item in listing_of(path).items}
    assert sizes["a.jpg"] == 7


def test_a_link_may_stand_before_its_target_and_in_another_folder(tmp_path: Path):
    path = write(
        tmp_path,
        tar.symlink("x/a.jpg", "../y/t.jpg"),
        tar.hard_link("x/b.jpg", "y/t.jpg"),
        tar.file("y/t.jpg", b"target"),
        END,
    )
    assert read_all(path) == dict.fromkeys(["x/a.jpg", "x/b.jpg", "y/t.jpg"], b"target")


def test_links_in_an_archive_of_absolute_names(tmp_path: Path):
    path = write(
        tmp_path,
        tar.file("/d/t.jpg", b"target"),
        tar.symlink("/d/a.jpg", "/d/t.jpg"),
        tar.symlink("/d/b.jpg", "../../d/t.jpg"),
        tar.hard_link("/d/c.jpg", "/d/t.jpg"),
        END,
    )
    assert list(read_all(path).values()) == [b"target"] * 4


def test_a_hard_link_keeps_the_content_that_its_target_had(tmp_path: Path):
    path = write(
        tmp_path,
        tar.file("t.jpg", b"old"),
        tar.hard_link("hard.jpg", "t.jpg"),
        tar.symlink("soft.jpg", "t.jpg"),
        tar.file("t.jpg", b"new"),
        END,
    )
    assert read_all(path) == {"t.jpg": b"new", "hard.jpg": b"old", "soft.jpg": b"new"}


def test_a_file_that_was_packed_twice_is_no_link_to_itself(tmp_path: Path):
    path = write(tmp_path, tar.file("a.jpg", b"once"), tar.hard_link("a.jpg", "a.jpg"), END)
    assert read_all(path) == {"a.jpg": b"once"}
    assert listing_of(path).skipped == 0


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (tar.symlink("a.jpg", "/etc/passwd"), "a link to '/etc/passwd', which is no file"),
        (tar.symlink("a.jpg", "../../etc/passwd"), "a link to '../../etc/passwd', which is no"),
        (tar.symlink("a.jpg", "gone.jpg"), "a link to 'gone.jpg', which is no file"),
        (tar.symlink("a.jpg", "sub"), "a link to 'sub', which is no file"),
        (tar.symlink("a.jpg", "pipe"), "is no file, its type is b'6'"),
        (tar.symlink("a.jpg", "a.jpg"), "is a link in a circle"),
        (tar.hard_link("a.jpg", "a.jpg"), "is a link in a circle"),
        (tar.symlink("a.jpg", "b") + tar.symlink("b", "./a.jpg"), "is a link in a circle"),
        (tar.symlink("a.jpg", ""), "a link to '', which is no file"),
        (tar.header("a.jpg", kind=tarfile.CHRTYPE), "is no file, its type is b'3'"),
        (tar.header("a.jpg", kind=tarfile.FIFOTYPE), "is no file, its type is b'6'"),
        (tar.header("a.jpg", kind=b"Z"), "is no file, its type is b'Z'"),
        (tar.sparse_gnu("a.jpg", b"x" * 10, [(0, 10), (5, 5)]), "sparse file whose map is damaged"),
        (tar.sparse_pax_0_1("a.jpg", b"x", [(0, 1), (-1, 1)]), "sparse file whose map is damaged"),
        (tar.sparse_pax_1_0("a.jpg", b"x", [(0, 9000)]), "sparse file whose map is damaged"),
    ],
)
def test_a_member_without_content_is_counted_and_has_a_reason(
    tmp_path: Path, member: bytes, reason: str
):
    path = write(
        tmp_path,
        tar.header("sub/", kind=tarfile.DIRTYPE),
        tar.header("pipe", kind=tarfile.FIFOTYPE),
        tar.file("sub/b.jpg", b"sound"),
        member,
        END,
    )
    listing = listing_of(path)
    assert [item.uri for item in listing.items] == [f"{path}#sub/b.jpg"]
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert listing.skipped == len([name for name in names if name in {"a.jpg", "pipe", "b"}])
    with pytest.raises(ImageError, match=re.escape(reason)):
        read_one(path, "a.jpg")


EXTENTS = [(1000, 300), (2048, 1), (4000, 600)]
MANY_EXTENTS = [(10 * i, 1 + i % 3) for i in range(1, 60)]
SPARSE = [tar.sparse_gnu, tar.sparse_pax_0_0, tar.sparse_pax_0_1, tar.sparse_pax_1_0]


@pytest.mark.parametrize("extents", [EXTENTS, MANY_EXTENTS, []])
@pytest.mark.parametrize("write_sparse", SPARSE)
def test_sparse_members_expand_to_their_whole_content(
    tmp_path: Path, write_sparse: Callable[[str, bytes, Extents], bytes], extents: Extents
):
    whole = bytearray(5000)
    for offset, length in extents:
        whole[offset : offset + length] = bytes(1 + i % 250 for i in range(length))
    content = bytes(whole)
    path = write(
        tmp_path,
        write_sparse("sparse.jpg", content, extents),
        tar.hard_link("link.jpg", "sparse.jpg"),
        tar.file("z.jpg", b"behind"),
        END,
    )
    assert [item.size_bytes for item in listing_of(path).items] == [5000, 5000, 6]
    assert read_all(path) == {"sparse.jpg": content, "link.jpg": content, "z.jpg": b"behind"}


@pytest.mark.parametrize(
    "options", ["--format=gnu", *(f"--sparse-version={v}" for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_members_as_gnu_tar_writes_them(tmp_path: Path, options: str):
    if "GNU tar" not in _version_of("tar"):
        pytest.skip("there is no GNU tar here to write an archive")
    with (tmp_path / "s.jpg").open("wb") as file:  # with holes: otherwise it is not sparse
        for position in (100_000, 900_000):
            file.seek(position)
            file.write(b"data" * 1000)
    content = (tmp_path / "s.jpg").read_bytes()
    command = ["tar", "-cf", "a.tar", "--sparse", "--hole-detection=raw", options, "s.jpg"]
    if "version" in options:
        command.insert(1, "--format=posix")
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "a.tar").stat().st_size < len(content)
    assert read_all(tmp_path / "a.tar") == {"s.jpg": content}


def _version_of(program: str) -> str:
    if shutil.which(program) is None:
        return ""
    done = subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("zeros", [0, 512, 1024, 10240, 3 << 20])
def test_archives_that_were_joined_are_read_to_the_last_one(tmp_path: Path, zeros: int):
    parts = [tar.file(f"{i}.jpg", b"%d" % i) + END + bytes(zeros) for i in range(3)]
    path = write(tmp_path, *parts)
    assert read_all(path) == {"0.jpg": b"0", "1.jpg": b"1", "2.jpg": b"2"}
    assert listing_of(path).skipped == 0


def test_a_member_that_a_later_one_supersedes_is_counted(tmp_path: Path):
    parts = [tar.file("0.jpg", b"%d" % i) + tar.file(".0.jpg", b"hidden") + END for i in range(3)]
    path = write(tmp_path, *parts)
    assert read_all(path) == {"0.jpg": b"2"}
    assert listing_of(path).skipped == 2


def damaged(block: bytes) -> bytes:
    return block[:100] + b"?" + block[101:]


SOUND = tar.file("0.jpg", b"zero")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param(
            [SOUND, damaged(tar.file("1.jpg", b"one")), END],
            "byte 1024: neither a header nor an end mark",
            id="a damaged header is not the end",
        ),
        pytest.param(
            [SOUND, tar.file("1.jpg", b"one")[:100]],
            "byte 1024: neither a header nor an end mark",
            id="a header that is cut off",
        ),
        pytest.param(
            [SOUND, END[:512], b"rubbish"],
            "byte 1536: neither a header nor an end mark",
            id="a single block of zeros is no end mark",
        ),
        pytest.param(
            [END, b"rubbish"],
            "byte 1024: neither a header nor an end mark",
            id="something behind an archive without members",
        ),
        pytest.param(
            [SOUND, END, tar.file("2.jpg", b"2"), damaged(tar.file("1.jpg", b"one")), END],
            "byte 3072: neither a header nor an end mark",
            id="a damaged header in a joined archive",
        ),
        pytest.param(
            [
                SOUND,
                tar.header("1.jpg", 600, tarfile.LNKTYPE, "0.jpg"),
                b"x" * 1024,
                END,
            ],
            "byte 1536: neither a header nor an end mark",
            id="a hard link with a content of its own",
        ),
        pytest.param(
            [SOUND, tar.header("1.jpg", -512), END], "a member of -512 bytes", id="a negative size"
        ),
        pytest.param([tar.header("1.jpg", -2048), END], "of -2048 bytes", id="before the start"),
        pytest.param(
            [SOUND, tar.pax(("size", -1024)), tar.file("1.jpg", b"one"), END],
            "a member of -1024 bytes",
            id="a negative size in a pax header",
        ),
        pytest.param(
            [tar.pax(("size", "many")), tar.file("1.jpg", b"one" * 400), END],
            "neither a header nor an end mark",
            id="a size in a pax header that is no number",
        ),
        pytest.param(
            [tar.header("L", -1024, tarfile.GNUTYPE_LONGNAME), END], "", id="a negative long name"
        ),
        pytest.param(
            [tar.header("L", 2**60, tarfile.GNUTYPE_LONGNAME), END],
            f"a header of {2**60} bytes, limit 16777216",
            id="a long name of an exabyte",
        ),
        pytest.param(
            [tar.pax(("mtime", 1)) * 3000, SOUND, END], "recursion", id="thousands of pax headers"
        ),
        pytest.param(
            [tar.pax(("GNU.sparse.map", "1,x")), SOUND, END], "", id="a sparse map of words"
        ),
        pytest.param(
            [tar.sparse_gnu("1.jpg", bytes(900), MANY_EXTENTS)[:700]],
            "",
            id="a map that is cut off",
        ),
        pytest.param([SOUND, tar.header("1.jpg", 2**62), END], "", id="a member of 4 exabytes"),
    ],
)
def test_an_archive_that_cannot_be_followed_is_refused_in_one_line(
    tmp_path: Path, parts: list[bytes], message: str
):
    path = write(tmp_path, *parts)
    expected = re.escape(f"{path}: no readable tar archive: ") + ".*" + re.escape(message)
    with pytest.raises(ConfigError, match=expected) as raised:
        listing_of(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(ImageError, match=expected):
        read_one(path, "1.jpg")


@pytest.mark.parametrize(
    "trailing",
    [
        pytest.param(b"\n", id="a line end"),
        pytest.param(b"\xff" * 1024, id="blocks of another fill"),
        pytest.param(b"d41d8cd98f00b204e9800998ecf8427e  a.tar\n", id="a checksum"),
        pytest.param(bytes(700) + b"x" * 3000, id="zeros and rubbish"),
        pytest.param(damaged(tar.file("1.jpg", b"one")) + END, id="a damaged joined archive"),
    ],
)
def test_what_lies_behind_an_archive_is_counted_once_and_logged_where_it_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trailing: bytes
):
    path = write(tmp_path, SOUND, tar.file("2.jpg", b"two"), END, trailing)
    listing = listing_of(path)
    assert (len(listing.items), listing.skipped) == (2, 1)
    place = 3072 + (512 if trailing[0] == 0 else 0)
    (line,) = caplog.messages
    assert line.startswith(
        f"{path}: byte {place}: behind the archive's end is something that is no"
    )
    caplog.clear()
    assert read_one(path, "2.jpg") == b"two"
    assert not caplog.messages, "a worker of each archive would say it again"


NAMES_WITH_DOTS = [
    "../p/a.jpg",
    "././b.jpg",
    "x/./c.jpg",
    "./x/../d.jpg",
    "/./e.jpg",
    "x/../../f.jpg",
]


def test_parts_of_a_path_that_are_dots_hide_no_member(tmp_path: Path):
    hidden = [".g.jpg", "./._h.jpg", "x/.y/i.jpg", "../.j.jpg", "./..k.jpg", "x/.../l.jpg"]
    parts = [tar.file(name, name.encode()) for name in [*NAMES_WITH_DOTS, *hidden]]
    path = write(tmp_path, *parts, END)
    assert read_all(path) == {name: name.encode() for name in NAMES_WITH_DOTS}
    assert listing_of(path).skipped == 0


def test_an_archive_without_an_end_mark_and_one_of_odd_length_are_read(tmp_path: Path):
    assert read_all(write(tmp_path, SOUND)) == {"0.jpg": b"zero"}
    assert read_all(write(tmp_path, SOUND, bytes(700))) == {"0.jpg": b"zero"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("n" * 300 + ".jpg", id="over 255 bytes"),
        pytest.param("d/" * 2500 + "n.jpg", id="over 4096 bytes"),
        pytest.param("nul\0.jpg", id="a NUL"),
    ],
)
def test_a_member_whose_name_no_file_can_have_is_read(tmp_path: Path, name: str):
    path = write(tmp_path, tar.pax(("path", name)), tar.file("x", b"content"), END)
    assert read_all(path) == {name: b"content"}
    assert read_one(path, name) == b"content", "no version says that it is a member"


@pytest.mark.parametrize(
    ("archive", "sizes"),
    [
        ("hard.tar", [30242, 19163, 30242, 30242]),
        ("catd.tar", [30242, 19163, 35455, 34674]),
        ("sparse.tar", [3145728, 30242]),
    ],
)
def test_all_members_of_archives_that_lost_some(shared_data: Path, archive: str, sizes: list[int]):
    path = shared_data / CASES / archive
    if not path.is_file():
        pytest.skip(f"shared/data has no {CASES}")
    assert [len(data) for data in read_all(path).values()] == sizes
    assert listing_of(path).skipped == 0
