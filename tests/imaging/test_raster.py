"""PNG, JPEG and TIFF to a View, at full depth, upright, and never with rows made up."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from hilum.codes import Code, HilumError
from hilum.imaging import load_study
from hilum.study import View

STEPS = np.arange(240, dtype=np.uint8).reshape(12, 20)
DEEP = (np.arange(240, dtype=np.uint16) * 273).reshape(12, 20)


def saved(tmp_path: Path, image: Image.Image | NDArray[Any], name: str, **options: Any) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(tmp_path / name, **options)
    return tmp_path / name


def view_of(path: Path) -> View:
    return load_study([path]).views[0]


def error_of(path: Path) -> Code:
    with pytest.raises(HilumError) as caught:
        load_study([path])
    return caught.value.code


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
@settings(deadline=None)
def test_eight_bits_are_shown_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.uint8]
) -> None:
    path = saved(tmp_path_factory.getbasetemp(), pixels, "any.png")
    view = view_of(path)
    assert (view.display() == pixels).all()
    assert (view.pixels == pixels).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_their_depth_and_are_spread(tmp_path: Path, name: str) -> None:
    view = view_of(saved(tmp_path, DEEP, name))
    assert view.pixels.dtype == np.uint16
    assert (view.pixels == DEEP).all()
    assert view.voi == []
    assert (view.display().min(), view.display().max()) == (0, 255)


def test_big_endian_sixteen_bit_tiff(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(DEEP.astype(">u2")), "big.tif")
    assert path.read_bytes()[:2] == b"MM"
    assert (view_of(path).pixels == DEEP).all()


def test_deeper_and_signed_tiffs_become_float(tmp_path: Path) -> None:
    for index, levels in enumerate((DEEP.astype(np.float32) / 7, DEEP.astype(np.int32) - 999)):
        view = view_of(saved(tmp_path, levels, f"{index}.tif"))
        assert view.pixels.dtype == np.float32
        assert np.allclose(view.pixels, levels)
    bad = DEEP.astype(np.float32)
    bad[0, 0] = np.inf
    assert error_of(saved(tmp_path, bad, "inf.tif")) is Code.PIXELS_UNDECODABLE


def tiff(levels: NDArray[Any], photometric: int) -> bytes:
    """A one-strip little-endian TIFF, so that every tag is what the test says."""
    rows, columns = levels.shape
    data, tags = levels.tobytes(), 8
    entries = [
        (256, 3, columns), (257, 3, rows), (258, 3, 8 * levels.dtype.itemsize), (259, 3, 1),
        (262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 3, rows), (279, 4, len(data)),
    ]  # fmt: skip
    tags = 8 + len(data)
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, word) for tag, kind, word in entries)
    return b"II*\0" + struct.pack("<I", tags) + data + directory + b"\0\0\0\0"


@pytest.mark.parametrize("levels", [STEPS, DEEP], ids=["8 bit", "16 bit"])
def test_white_is_zero_is_turned_once(tmp_path: Path, levels: NDArray[Any]) -> None:
    shown = []
    for photometric in (0, 1):
        path = tmp_path / f"{photometric}.tif"
        path.write_bytes(tiff(levels, photometric))
        shown.append(view_of(path).display().astype(int))
    assert (shown[0] + shown[1] == 255).all()
    assert shown[1][0, 0] == 0


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    smooth = np.add.outer(np.arange(24) * 8, np.arange(40)).astype(np.uint8)
    options: dict[str, Any] = {"quality": 100} if suffix == "jpg" else {}
    view = view_of(saved(tmp_path, smooth, f"turned.{suffix}", exif=exif, **options))
    flipped, straight = smooth[:, ::-1], smooth
    expected = [
        straight, flipped, straight[::-1, ::-1], straight[::-1],
        straight.T, np.rot90(straight, 3), straight[::-1, ::-1].T, np.rot90(straight, 1),
    ][orientation - 1]  # fmt: skip
    assert view.pixels.shape == expected.shape
    assert np.abs(view.pixels.astype(int) - expected).max() <= 2


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    view = view_of(saved(tmp_path, DEEP, "turned.png", exif=exif))
    assert (view.pixels == np.rot90(DEEP, 3)).all()


def test_a_broken_exif_block_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path, STEPS, "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert view_of(path).rows == 12


def test_equal_channels_are_grey(tmp_path: Path) -> None:
    grey = np.repeat(STEPS[..., None], 3, axis=2)
    for name in ("rgb.png", "rgb.tif"):
        view = view_of(saved(tmp_path, grey, name))
        assert view.header["samples"] == "1"
        assert (view.pixels == STEPS).all()
    view = view_of(saved(tmp_path, grey, "rgb.jpg", quality=75))
    assert view.header["samples"] == "1"


def test_a_tint_is_colour(tmp_path: Path) -> None:
    tinted = np.repeat(STEPS[..., None], 3, axis=2)
    tinted[0, 0] = (10, 11, 10)
    view = view_of(saved(tmp_path, tinted, "rgb.png"))
    assert view.header["samples"] == "3"
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    view = view_of(saved(tmp_path, red, "red.png"))
    assert (view.display() == 60).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "PA", "CMYK"])
def test_every_mode_shows_the_same_picture(tmp_path: Path, mode: str) -> None:
    black_white = np.where(STEPS > 100, 255, 0).astype(np.uint8)
    image = Image.fromarray(black_white)
    path = saved(
        tmp_path, image.convert("RGB").convert(mode), "x.tif" if mode in ("CMYK", "PA") else "x.png"
    )
    view = view_of(path)
    assert view.header == {"frames": "1", "samples": "1"}
    assert (view.display() == black_white).all()


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((4, 4), 200, np.uint8)).convert("LA")
    image.putalpha(Image.fromarray(np.array([[0, 128, 255, 255]] * 4, np.uint8)))
    for mode in ("LA", "RGBA"):
        assert view_of(saved(tmp_path, image.convert(mode), f"{mode}.png")).pixels[0].tolist() == [
            0,
            100,
            200,
            200,
        ]


def test_pages_are_counted_and_the_first_is_read(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (9, 99, 199)]
    path = saved(tmp_path, pages[0], "pages.tif", save_all=True, append_images=pages[1:])
    view = view_of(path)
    assert view.header["frames"] == "3"
    assert (view.pixels == 9).all()


@pytest.mark.parametrize(
    ("source", "spacing", "simulated", "expected"),
    [
        ("Hilum phantom", "0.143", True, 0.143),
        ("Hilum phantom", "-1", True, None),
        ("Hilum phantom", "nan", True, None),
        ("Hilum phantom", None, True, None),
        ("hilum phantom", "0.143", False, None),
        (None, "0.143", False, None),
    ],
)
def test_only_a_phantom_is_simulated_and_has_a_scale(
    tmp_path: Path, source: str | None, spacing: str | None, simulated: bool, expected: float | None
) -> None:
    texts = PngImagePlugin.PngInfo()
    if source:
        texts.add_text("Source", source)
    if spacing:
        texts.add_text("mm_per_pixel", spacing)
    view = view_of(saved(tmp_path, STEPS, "x.png", pnginfo=texts))
    assert (view.simulated, view.mm_per_pixel) == (simulated, expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_no_cut_file_is_ever_filled_up(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    path = saved(tmp_path, noise, f"x.{suffix}")
    whole, content = view_of(path).pixels, path.read_bytes()
    for cut in np.linspace(9, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:cut])
        try:
            found = view_of(path).pixels
        except HilumError as error:
            assert error.code is Code.FILE_DAMAGED  # noqa: PT017
        else:
            assert (found == whole).all()


@pytest.mark.parametrize("side", [10_001, 20_000])
def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    """A few bytes that claim 100 and 400 million pixels: Pillow only warns about the first."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert error_of(path) is Code.TOO_MANY_PIXELS


def test_the_name_of_a_file_says_nothing(tmp_path: Path, make_file: Any) -> None:
    png = saved(tmp_path, STEPS, "x.png")
    assert (view_of(png.rename(tmp_path / "x.dcm")).pixels == STEPS).all()
    dicom = make_file(name="film.png")
    assert view_of(dicom).header["modality"] == "CR"
    other = tmp_path / "x.jpg"
    out = io.BytesIO()
    Image.fromarray(STEPS).save(out, "TIFF")
    other.write_bytes(out.getvalue())
    assert (view_of(other).pixels == STEPS).all()


@pytest.mark.parametrize("form", ["GIF", "BMP", "WEBP", "JPEG2000"])
def test_other_formats_are_unknown(tmp_path: Path, form: str) -> None:
    assert error_of(saved(tmp_path, STEPS, "x.png", format=form)) is Code.FORMAT_UNKNOWN


def test_real_films(dev_data: Path) -> None:
    films = [
        path
        for folder in ("hannover_ccby3", "kermany_pediatric_ccby4", "nih")
        for path in sorted((dev_data / "xray" / folder).glob("*.*g"))[:3]
    ]
    assert films
    for path in films:
        view = view_of(path)
        assert view.header == {"frames": "1", "samples": "1"}, path.name
        assert view.display().std() > 20, path.name
