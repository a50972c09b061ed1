"""Members that may not be in a bundle are refused before they are read (rows 57 and 63)."""

import io
import tarfile

import pytest

from gateway import bundle
from gateway.bundle import BundleError

NAMES = (
    "../report.json",
    "/etc/report.json",
    "C:/report.json",
    "batches/../report.json",
    "batches/CON.bin",
    f"batches/{'a' * 300}.bin",
    "batches/gw-01.bin\n",
    "report.json/",
    "Report.json",
    "configs/00.cose",
)


@pytest.fixture
def pack(tmp_path):
    def make(*members, **how):
        path = tmp_path / "one.bundle"
        with tarfile.open(path, "w", **how) as archive:
            for name, changes in members:
                info = tarfile.TarInfo(name)
                info.size = 3
                for key, value in changes.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(b"abc"))
        return path

    return make


def test_a_plain_member_is_read(pack):
    assert bundle.read(pack(("report.json", {}))).files == {"report.json": b"abc"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_bundle_has_is_refused(pack, name):
    with pytest.raises(BundleError, match="no such member"):
        bundle.read(pack((name, {})))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.CONTTYPE,
    ],
)
def test_a_member_that_is_no_plain_file_is_refused(pack, kind):
    member = ("report.json", {"type": kind, "linkname": "/etc/passwd", "size": 0})
    with pytest.raises(BundleError, match="no such member"):
        bundle.read(pack(member))


def test_a_file_of_holes_is_refused_before_it_fills_the_memory(pack):
    holes = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,3", "GNU.sparse.size": str(2**40)}
    member = ("report.json", {"pax_headers": holes})
    with pytest.raises(BundleError, match="no such member"):
        bundle.read(pack(member, format=tarfile.PAX_FORMAT))


def test_a_member_that_stands_twice_is_refused(pack):
    with pytest.raises(BundleError, match="stands twice"):
        bundle.read(pack(("report.json", {}), ("report.json", {})))


def test_a_cut_off_archive_is_refused(pack, tmp_path):
    content = pack(("report.json", {"size": 3})).read_bytes()
    path = tmp_path / "cut.bundle"
    path.write_bytes(content[:514])
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.read(path)
