"""Files made to hurt: each is a code and one line, in bounded memory, and the next film is read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks import films
from hilum.codes import Code, HilumError
from hilum.imaging import dicom, film, load, scan, source, volume
from hilum.imaging.child import Child, Limits
from hilum.imaging.children import Pool

MIB = 1 << 20


@pytest.fixture
def child() -> Iterator[Child]:
    """A child of its own, so that its memory is that of one file."""
    child = Child(Limits(seconds=50))
    yield child
    child.process.kill()
    child.end()


def peak(child: Child) -> int:
    """Most memory that a child ever held, in bytes."""
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def refusal(path: Path) -> HilumError:
    """The one error of a file, the same whether it shows in scan or in load."""
    (study,) = scan([path])
    error = study.error
    if error is None:
        with pytest.raises(HilumError) as caught:
            load(study)
        error = caught.value
    assert "\n" not in error.line()
    return error


def capped(child: Child, path: Path, most: int) -> None:
    """Both requests about a file stay below ``most`` bytes of resident memory."""
    for do in ("identify", "read"):
        child.ask(do, path)
    if sys.platform == "linux":
        assert peak(child) < most


def zeros(size: int, window: int = -zlib.MAX_WBITS) -> bytes:
    """``size`` zero bytes, deflated a thousandfold."""
    stream = zlib.compressobj(9, zlib.DEFLATED, window)
    block = bytes(MIB)
    return b"".join(stream.compress(block) for _ in range(size // MIB)) + stream.flush()


def test_a_deflate_bomb(make_file: Any, child: Child) -> None:
    path = make_file(syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    head = content.index(b"1.2.840.10008.1.2.1.99")
    meta = 144 + int.from_bytes(content[140:144], "little")
    assert 128 < head < meta
    path.write_bytes(content[:meta] + zeros(1024 * MIB))
    assert path.stat().st_size < 2 * MIB
    error = refusal(path)
    assert error.code is Code.TOO_MANY_PIXELS
    assert "inflates" in error.detail
    capped(child, path, 700 * MIB)


def test_a_deflated_film_with_its_end_missing(make_file: Any) -> None:
    path = make_file(syntax=DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(path).code is Code.FILE_DAMAGED


def test_a_deflated_film_is_known_by_its_header_alone(
    make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study is found without inflating its pixels, unless its header is very long."""
    noise = np.random.default_rng(0).integers(0, 2**16, (1200, 1200)).astype(np.uint16)
    path = make_file(noise, syntax=DeflatedExplicitVRLittleEndian)
    whole = film.identify(path)
    monkeypatch.setattr(dicom, "_inflate", lambda *_: pytest.fail("inflated the pixels"))
    assert film.identify(path) == whole
    monkeypatch.undo()
    monkeypatch.setattr(dicom, "HEADER_BYTES", 64)  # cut within the header
    assert film.identify(path) == whole


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("honest", [False, True])
def test_a_codestream_bomb(
    make_dataset: Any, tmp_path: Path, child: Child, syntax: Any, honest: bool
) -> None:
    """A small codestream of 16000 x 16000, in a header that says so or says 64 x 64."""
    stream = films.ENCODERS[syntax](np.zeros((16, 16), np.uint8), 8)
    small, large = (16).to_bytes(4, "big"), (16000).to_bytes(4, "big")
    if syntax == JPEGLSLossless:
        at = stream.index(b"\xff\xf7") + 5
        stream = stream[:at] + struct.pack(">HH", 16000, 16000) + stream[at + 4 :]
    else:
        stream = stream.replace(small, large)
    ds = make_dataset(np.zeros((64, 64), np.uint8))
    if honest:
        ds.Rows = ds.Columns = 16000
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    path = tmp_path / "bomb"
    ds.save_as(path, enforce_file_format=True)
    assert refusal(path).code is (Code.TOO_MANY_PIXELS if honest else Code.PIXELS_UNDECODABLE)
    capped(child, path, 150 * MIB)


def test_the_largest_film_fits_in_the_limit(make_dataset: Any, tmp_path: Path) -> None:
    """100 million pixels of 16 bits, and a rescale that makes them floats."""
    ds = make_dataset(np.zeros((8, 8), np.uint16), RescaleSlope="2", RescaleIntercept="-1")
    ds.Rows = ds.Columns = 10_000
    ds.PixelData = bytes(2 * 10_000**2)
    path = tmp_path / "large"
    ds.save_as(path, enforce_file_format=True)
    pool = Pool(1)
    try:
        view, _ = pool.read(path)
    finally:
        pool.close()
    assert view.pixels.shape == (10_000, 10_000)
    assert view.pixels[5, 5] == -1


def test_an_rle_bomb(make_dataset: Any, tmp_path: Path, child: Child) -> None:
    """Runs that say more than Rows x Columns."""
    segment = bytes([0x81, 0]) * 200_000  # each two bytes are 128 zeros
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    ds = make_dataset(np.zeros((64, 64), np.uint8))
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate([header + segment])
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "bomb", enforce_file_format=True)
    capped(child, tmp_path / "bomb", 200 * MIB)


# --- archives


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_bomb_of_one_member(tmp_path: Path, child: Child) -> None:
    path = packed(tmp_path / "bomb.zip", {"film": bytes(300 * MIB)})
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.code is Code.ARCHIVE_REFUSED
    assert study.error.subject.endswith("bomb.zip/film")
    capped(child, path / "film", 150 * MIB)


def test_a_zip_bomb_that_lies_about_its_size(tmp_path: Path, child: Child) -> None:
    path = packed(tmp_path / "bomb.zip", {"film": bytes(300 * MIB)})
    content = path.read_bytes().replace(struct.pack("<I", 300 * MIB), struct.pack("<I", 100))
    path.write_bytes(content)
    assert refusal(path).code is Code.ARCHIVE_REFUSED
    capped(child, path / "film", 150 * MIB)


def test_zip_bombs_of_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where the limits can be made small."""
    path = packed(tmp_path / "many.zip", {f"{i}": bytes(1000) for i in range(20)})
    monkeypatch.setattr(source, "MAX_MEMBERS", 19)
    with pytest.raises(HilumError, match="20 members"):
        source.members(path)
    monkeypatch.setattr(source, "MAX_MEMBERS", 20)
    monkeypatch.setattr(source, "MAX_ARCHIVE_BYTES", 19_999)
    with pytest.raises(HilumError, match="unpacks to more"):
        source.members(path)
    monkeypatch.setattr(source, "MAX_ARCHIVE_BYTES", 20_000)
    assert len(source.members(path)) == 20


def test_an_archive_within_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", {"film": b"x"}).read_bytes()
    error = refusal(packed(tmp_path / "outer.zip", {"inner.zip": inner}))
    assert (error.code, error.detail) == (Code.ARCHIVE_REFUSED, "an archive within an archive")


def test_a_gzip_bomb_is_no_film(tmp_path: Path) -> None:
    (tmp_path / "film.dcm.gz").write_bytes(gzip.compress(bytes(50 * MIB)))
    assert refusal(tmp_path / "film.dcm.gz").code is Code.FORMAT_UNKNOWN


def nifti(shape: tuple[int, int, int], offset: int = 352, extension: int = 0) -> bytes:
    """A NIfTI header of 64-bit floats, and the head of an extension of so many bytes."""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 64, 64)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, offset)
    header[344:348] = b"n+1\0"
    return bytes(header) + (
        struct.pack("<4Bii", 1, 0, 0, 0, extension, 4) if extension else bytes(4)
    )


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (nifti((512, 512, 200)), Code.TOO_MANY_PIXELS),  # 400 MiB of voxels, and as many floats
        (nifti((9, 9, 9), 2**30, 2**29), Code.TOO_MANY_PIXELS),  # a header of half a gigabyte
        (nifti((9, 9, 9), 2**30), Code.FILE_DAMAGED),  # voxels far behind the end
        (nifti((2000, 2000, 2000)), Code.TOO_MANY_PIXELS),
    ],
)
def test_a_gzip_bomb_that_is_a_volume(tmp_path: Path, head: bytes, code: Code) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(head) + gzip.compress(bytes(64 * MIB)) * 9)
    pool = Pool(1, Limits(seconds=50, memory=400 * MIB))
    try:
        with pytest.raises(HilumError) as caught:
            pool.nifti(path, volume.MAX_VOXELS)
    finally:
        pool.close()
    assert caught.value.code is code
    assert "\n" not in caught.value.line()


# --- rasters


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_png_bombs(tmp_path: Path, child: Child) -> None:
    """Text that inflates without end, and rows without end."""
    size = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(9 * 8))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size)
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(500 * MIB, zlib.MAX_WBITS))
    long = chunk(b"IDAT", zeros(500 * MIB, zlib.MAX_WBITS))
    path = tmp_path / "bomb.png"
    path.write_bytes(start + text + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    assert refusal(path).code is Code.FILE_DAMAGED
    capped(child, path, 150 * MIB)
    path.write_bytes(start + long + chunk(b"IEND", b""))
    capped(child, path, 150 * MIB)


def test_a_png_chunk_of_four_gigabytes(tmp_path: Path, child: Child) -> None:
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(start + b"\xff\xff\xff\xf0tEXt" + bytes(100))
    assert refusal(path).code is Code.FILE_DAMAGED
    capped(child, path, 150 * MIB)


def test_a_tiff_bomb(tmp_path: Path, child: Child) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(out, "TIFF", compression="tiff_deflate")
    whole = out.getvalue()
    for tag in (256, 257):  # width and length, each a short
        at = whole.index(struct.pack("<HHI", tag, 3, 1))
        whole = whole[: at + 8] + struct.pack("<I", 65000) + whole[at + 12 :]
    (tmp_path / "bomb.tif").write_bytes(whole)
    assert refusal(tmp_path / "bomb.tif").code is Code.TOO_MANY_PIXELS
    capped(child, tmp_path / "bomb.tif", 150 * MIB)


@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"II*\0", bytes(128) + b"DICM"])
def test_a_file_of_a_terabyte(tmp_path: Path, magic: bytes) -> None:
    """Refused by its size, before its bytes are read for an id."""
    path = tmp_path / "film"
    path.write_bytes(magic)
    try:
        os.truncate(path, 1 << 40)  # a hole: it takes no room
    except OSError:
        pytest.skip("this file system has no such files")
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.code is Code.TOO_MANY_PIXELS


# --- headers


def nested(depth: int) -> bytes:
    """Sequences within sequences, written by hand: pydicom's writer would recurse itself."""
    tag = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = b"\xfe\xff\x0d\xe0" + b"\0" * 4 + b"\xfe\xff\xdd\xe0" + b"\0" * 4
    return (tag + item) * depth + end * depth


@pytest.mark.parametrize("depth", [50, 300, 20_000])
def test_nested_sequences(make_file: Any, depth: int) -> None:
    path = make_file()
    content = path.read_bytes()
    at = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    path.write_bytes(content[:at] + nested(depth) + content[at:])
    if depth == 50:
        assert load(scan([path])[0]).views[0].rows == 256
    else:
        assert refusal(path).code is Code.FILE_DAMAGED


@pytest.mark.parametrize("frames", [2**31 - 1, 2**31, -1, 10**12])
@pytest.mark.parametrize("syntax", [None, JPEGLSLossless])
def test_frames_without_number(
    make_dataset: Any, tmp_path: Path, child: Child, frames: int, syntax: Any
) -> None:
    ds = make_dataset(films.levels(8))
    if syntax:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([films.ENCODERS[syntax](films.levels(8), 8)])
        ds["PixelData"].VR = "OB"
    ds.NumberOfFrames = frames
    ds.save_as(tmp_path / "film", enforce_file_format=True)
    if frames > 0 and syntax is None:
        assert refusal(tmp_path / "film").code is Code.FILE_DAMAGED
    capped(child, tmp_path / "film", 150 * MIB)


def test_a_length_of_four_gigabytes(make_file: Any, child: Child) -> None:
    path = make_file()
    content = path.read_bytes()
    at = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW")) + 8
    path.write_bytes(content[:at] + struct.pack("<I", 0xFFFFFFFE) + content[at + 4 :])
    (study,) = scan([path])
    try:  # every pixel is there: the length alone is wrong
        assert load(study).views[0].rows == 256
    except HilumError as error:
        assert error.code is Code.FILE_DAMAGED  # noqa: PT017
    capped(child, path, 150 * MIB)


def test_a_path_in_a_uid_leads_nowhere(make_file: Any, tmp_path: Path) -> None:
    evil = {"StudyInstanceUID": b"../../../etc/passwd", "SOPInstanceUID": b"/tmp/x\0"}
    (study,) = scan([make_file(raw=evil)])
    assert set(study.id) <= set("0123456789abcdef")
    assert load(study).views[0].rows == 256
    assert [path.name for path in tmp_path.iterdir()] == ["film.dcm"]


@pytest.mark.parametrize("size", [1, 4, 131, 132, 140, 150, 300])
def test_a_header_cut_anywhere(make_file: Any, size: int) -> None:
    path = make_file()
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(path).code in (Code.FORMAT_UNKNOWN, Code.FILE_DAMAGED)


def test_no_bytes_at_all(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").touch()
    assert refusal(tmp_path / "film.dcm").code is Code.FILE_EMPTY
