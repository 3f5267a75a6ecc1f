"""Files made to hurt, through the API: each has its code, and the next film is read."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.imaging.test_bombs import nested
from tests.service.conftest import Desk
from tests.service.fakes import film, pixels_of

MakeFile = Callable[..., Path]
OTHERS = {
    "structured report": "1.2.840.10008.5.1.4.1.1.88.33",
    "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
}


def outcome(desk: Desk, content: bytes) -> str:
    """The code of a film's refusal, at once or by its job; "" where it was read."""
    answer = desk.send(content)
    if answer.status_code != 202:
        assert 400 <= answer.status_code < 500, answer.text
        return str(answer.json()["error"]["code"])
    desk.work()
    shown = desk.http.get(answer.headers["location"]).json()
    assert shown["state"] in ("done", "failed")
    assert (shown["report"] is None) == (shown["state"] == "failed")
    return shown["error"] or ""


def still_reads(desk: Desk) -> bool:
    return outcome(desk, film(seed=99)) == ""


def test_65535_squared(desk: Desk, make_file: MakeFile) -> None:
    content = make_file(pixels_of(), Rows=65535, Columns=65535).read_bytes()
    assert outcome(desk, content) in ("too_many_pixels", "pixels_undecodable")
    assert still_reads(desk)


def test_two_thousand_million_frames(desk: Desk, make_file: MakeFile) -> None:
    content = make_file(pixels_of(), NumberOfFrames=2**31 - 1).read_bytes()
    assert outcome(desk, content) == "file_damaged"
    assert still_reads(desk)


@pytest.mark.parametrize("depth", [50, 300, 20_000])
def test_nested_sequences(desk: Desk, make_file: MakeFile, depth: int) -> None:
    content = make_file(pixels_of()).read_bytes()
    at = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    content = content[:at] + nested(depth) + content[at:]
    assert outcome(desk, content) == ("" if depth == 50 else "file_damaged")
    assert still_reads(desk)


def test_a_deflate_bomb(desk: Desk, make_file: MakeFile) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(packer.compress(bytes(1 << 24)) for _ in range(40)) + packer.flush()
    ds = make_file(pixels_of(), syntax=DeflatedExplicitVRLittleEndian, name="d.dcm").read_bytes()
    assert outcome(desk, ds[:500] + zeros) != ""
    assert still_reads(desk)


def test_a_gzip_bomb(desk: Desk) -> None:
    assert outcome(desk, gzip.compress(bytes(1 << 24))) == "format_unknown"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_image(desk: Desk, make_file: MakeFile, kind: str) -> None:
    gone = dict.fromkeys("Rows Columns PixelData BitsAllocated BitsStored HighBit".split())
    content = make_file(SOPClassUID=OTHERS[kind], Modality="SR", **gone).read_bytes()
    assert outcome(desk, content) == "no_pixel_data"


def test_a_png_called_dcm_is_what_it_is(desk: Desk) -> None:
    answer = desk.http.post("/v1/studies", files={"files": ("film.dcm", film())})
    assert answer.status_code == 202
    desk.work()
    assert desk.http.get(answer.headers["location"]).json()["state"] == "done"


def test_a_colour_photograph_is_taken_and_left_to_the_gate(desk: Desk) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    photo[0, 0] = 0
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    assert outcome(desk, file.getvalue()) == ""


def test_a_path_in_a_uid_leads_nowhere(desk: Desk, make_file: MakeFile) -> None:
    raw = {"SOPInstanceUID": b"../../../../tmp/evil", "StudyInstanceUID": b"/etc/passwd"}
    assert outcome(desk, make_file(pixels_of(), raw=raw).read_bytes()) == ""
    inside = desk.service.data.resolve()
    assert all(p.resolve().is_relative_to(inside) for p in desk.service.data.rglob("*"))
    names = [p.name for p in (desk.service.data / "films").rglob("*") if p.is_file()]
    assert all(set(name) <= set("0123456789abcdef") for name in names)


@pytest.mark.parametrize("at", [0, 1, 131, 132, 200, 700])
def test_a_film_cut_anywhere(desk: Desk, make_file: MakeFile, at: int) -> None:
    assert outcome(desk, make_file(pixels_of()).read_bytes()[:at]) != ""


def test_mutated_films_never_stop_the_service(desk: Desk, make_file: MakeFile) -> None:
    whole = make_file(pixels_of()).read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(40):
        changed = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, 1200, 6)
        changed[places] = rng.integers(0, 256, 6)
        outcome(desk, changed.tobytes())
    assert still_reads(desk)
