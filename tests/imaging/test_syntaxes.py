"""Every transfer syntax of real CR and DX archives, each film made here and decoded bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom.uid
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
)

from benchmarks import films
from benchmarks.films import DEPTHS, ENCODERS, LOSSY, Levels
from hilum.codes import Code, HilumError
from hilum.imaging import load_study, scan
from hilum.imaging.decode import DECODERS
from hilum.study import View


def write(path: Path, syntax: UID, x: Levels, bits: int, **elements: Any) -> Path:
    films.dataset(x, syntax, bits, **elements).save_as(path, enforce_file_format=True)
    return path


def view_of(path: Path) -> View:
    return load_study([path]).views[0]


def error_of(path: Path) -> HilumError:
    with pytest.raises(HilumError) as caught:
        load_study([path])
    return caught.value


CASES = [(syntax, bits) for syntax in DECODERS for bits in DEPTHS.get(syntax, (8, 10, 12, 16))]


@pytest.mark.parametrize(
    ("syntax", "bits"), CASES, ids=[f"{uid.keyword}-{bits}" for uid, bits in CASES]
)
def test_every_syntax_and_depth(tmp_path: Path, syntax: UID, bits: int) -> None:
    x = films.levels(bits)
    path = write(tmp_path / "IM000001", syntax, x, bits)
    found = view_of(path)
    assert scan([path])[0].error is None
    assert found.pixels.shape == x.shape
    assert np.abs(found.pixels.astype(int) - x).max() <= LOSSY.get(syntax, 0)
    assert found.header["transfer_syntax"] == syntax
    assert found.warnings == []


LOSSLESS = [uid for uid in DECODERS if uid not in LOSSY]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("bits", [12, 16])
def test_signed_pixels(tmp_path: Path, syntax: UID, bits: int) -> None:
    """The encoders here take unsigned words: the sign is in the header alone, as scanners do."""
    x = films.levels(bits, signed=True)
    kept = x & (2**bits - 1) if bits < 16 else x
    path = write(tmp_path / "film", syntax, kept.astype(np.int16), bits)
    assert (view_of(path).pixels == x).all()


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("encoder", ["libjpeg-turbo", "liblj92"])
def test_lossless_jpeg_of_two_encoders_and_every_predictor(
    make_dataset: Any, tmp_path: Path, encoder: str, bits: int
) -> None:
    x = films.levels(bits)
    for predictor in range(1, 8) if encoder == "libjpeg-turbo" else [6]:
        if encoder == "libjpeg-turbo":
            stream = films.lossless(x, bits, predictor)
        else:
            stream = imagecodecs.ljpeg_encode(x, bitspersample=bits)
        ds = make_dataset(x, BitsStored=bits)
        ds.file_meta.TransferSyntaxUID = JPEGLossless
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].VR = "OB"
        ds.save_as(tmp_path / "film", enforce_file_format=True)
        assert (view_of(tmp_path / "film").pixels == x).all(), predictor


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_fragments_and_offset_tables(make_dataset: Any, tmp_path: Path, table: str) -> None:
    x = films.levels(12)
    stream = films.lossless(x, 12)
    ds = make_dataset(x, BitsStored=12)
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    if table == "extended":
        from pydicom.encaps import encapsulate_extended

        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(
            [stream]
        )
    else:
        ds.PixelData = encapsulate([stream], fragments_per_frame=3, has_bot=table == "basic")
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "film", enforce_file_format=True)
    assert (view_of(tmp_path / "film").pixels == x).all()


def test_several_compressed_frames_give_the_first(make_dataset: Any, tmp_path: Path) -> None:
    x = films.levels(12)
    ds = make_dataset(x, BitsStored=12, NumberOfFrames=3)
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encapsulate(
        [films.lossless(level, 12) for level in (x, x[::-1].copy(), 4095 - x)]
    )
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "film", enforce_file_format=True)
    assert (view_of(tmp_path / "film").pixels == x).all()
    assert view_of(tmp_path / "film").header["frames"] == "3"


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.keyword)
def test_a_cut_codestream_is_never_filled_up(
    make_dataset: Any, tmp_path: Path, syntax: UID
) -> None:
    bits = DEPTHS.get(syntax, (12,))[-1]
    x = films.levels(bits)
    whole = ENCODERS[syntax](x, bits)
    ds = make_dataset(x, BitsStored=bits)
    ds.file_meta.TransferSyntaxUID = syntax
    for part in np.linspace(0.02, 0.98, 25):
        ds.PixelData = encapsulate([whole[: int(len(whole) * part)]])
        ds["PixelData"].VR = "OB"
        ds.save_as(tmp_path / "film", enforce_file_format=True)
        assert error_of(tmp_path / "film").code is Code.PIXELS_UNDECODABLE, part


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.keyword)
def test_a_codestream_larger_than_its_header_is_refused(
    make_dataset: Any, tmp_path: Path, syntax: UID
) -> None:
    bits = DEPTHS.get(syntax, (12,))[-1]
    ds = make_dataset(films.levels(bits, rows=64, columns=64), BitsStored=bits)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(
        [ENCODERS[syntax](films.levels(bits, rows=1600, columns=1600), bits)]
    )
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "film", enforce_file_format=True)
    error = error_of(tmp_path / "film")
    assert error.code is Code.PIXELS_UNDECODABLE
    assert "1600 x 1600 in the codestream, 64 x 64 in the header" in error.detail


UNSUPPORTED = {
    "1.2.840.10008.1.2.4.110": "",  # JPEG XL Lossless
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264",
    "1.2.840.10008.1.2.4.94": "JPIP Referenced",
    "1.2.840.10008.1.2.8.1": "",  # Deflated Image Frame; pydicom 3.0 has no name for it
    "1.2.999.99999.9.9.9": "",  # private
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_syntax_names_itself(make_file: Any, name: str) -> None:
    path = make_file(syntax=JPEGLossless, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    content = path.read_bytes()
    at = content.index(JPEGLossless.encode())
    longer = (name + "\0" * (len(name) % 2)).encode()
    # the UID's length, and that of its group, are little-endian numbers before it
    size = int.from_bytes(content[at - 2 : at], "little")
    group = content.index(b"UL\x04\x00") + 4
    grown = int.from_bytes(content[group : group + 4], "little") + len(longer) - size
    content = (
        content[:group] + grown.to_bytes(4, "little") + content[group + 4 : at - 2]
        + len(longer).to_bytes(2, "little") + longer + content[at + size :]
    )  # fmt: skip
    path.write_bytes(content)
    error = error_of(path)
    assert error.code is Code.TRANSFER_SYNTAX_UNSUPPORTED
    assert name in error.detail
    assert UNSUPPORTED[name] in error.detail


def test_a_decoder_that_is_not_installed_is_not_replaced_by_another(
    make_dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum.imaging import film

    path = write(tmp_path / "film", JPEG2000Lossless, films.levels(12), 12)
    monkeypatch.setitem(DECODERS, JPEG2000Lossless, "gdcm")
    with pytest.raises(HilumError) as caught:
        film.read(path)
    assert caught.value.code is Code.TRANSFER_SYNTAX_UNSUPPORTED


def test_the_table_names_known_syntaxes() -> None:
    assert len(DECODERS) == 16
    for syntax in DECODERS:
        assert syntax in pydicom.uid.AllTransferSyntaxes
    assert {ImplicitVRLittleEndian, ExplicitVRLittleEndian} <= set(DECODERS)
    assert DeflatedExplicitVRLittleEndian in DECODERS
