"""Volumes: patient order, geometry that does not fit, windows, NIfTI against DICOM."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, generate_uid

from hilum.codes import Code, HilumError
from hilum.imaging import volume
from hilum.imaging.volume import WINDOWS, Volume, load
from hilum.study import Window

MakeSeries = Callable[..., Path]
AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


@pytest.fixture
def series(make_file: Callable[..., Path], tmp_path: Path) -> MakeSeries:
    """Writes one CT slice a position, its stored values 1000 + its number, in a shuffled order."""

    def write(
        positions: list[tuple[float, float, float]],
        orientation: tuple[float, ...] = AXIAL,
        folder: str = "ct",
        first: int = 0,
        **elements: Any,
    ) -> Path:
        uid = elements.pop("SeriesInstanceUID", generate_uid())
        order = np.random.default_rng(3).permutation(len(positions))
        for name, k in enumerate(order, start=first):
            make_file(
                np.full((6, 5), 1000 + k, np.uint16),
                name=f"{folder}/IM{name:04d}",
                SOPClassUID=CTImageStorage,
                Modality="CT",
                StudyInstanceUID="1.2.3",
                SeriesInstanceUID=uid,
                ImageOrientationPatient=list(orientation),
                ImagePositionPatient=list(positions[k]),
                PixelSpacing=[0.8, 0.5],
                RescaleSlope=1,
                RescaleIntercept=-1024,
                **elements,
            )
        return tmp_path / folder

    return write


def axial(*heights: float) -> list[tuple[float, float, float]]:
    return [(-100.0, -120.0, z) for z in heights]


def code(error: pytest.ExceptionInfo[HilumError]) -> Code:
    return error.value.code


def numbers(loaded: Volume) -> list[int]:
    """Which slice lies where: the value each was made with."""
    return [round(float(v)) + 24 for v in loaded.voxels[:, 0, 0]]


def test_slices_come_from_the_feet_up_in_hounsfield_units(series: MakeSeries) -> None:
    loaded = load(series(axial(30, 0, 10, 20)))
    assert numbers(loaded) == [1, 2, 3, 0]
    assert loaded.voxels.dtype == np.float32
    assert loaded.spacing == (10.0, 0.8, 0.5)
    assert loaded.origin == (-100.0, -120.0, 0.0)
    assert loaded.directions == ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    assert (loaded.modality, loaded.places, loaded.warnings) == ("CT", [0, 10, 20, 30], [])


@pytest.mark.parametrize(
    ("orientation", "positions", "expected"),
    [
        (CORONAL, [(0.0, 20.0, 0.0), (0.0, -20.0, 0.0), (0.0, 0.0, 0.0)], [1, 2, 0]),
        (SAGITTAL, [(5.0, 0.0, 0.0), (-5.0, 0.0, 0.0), (0.0, 0.0, 0.0)], [1, 2, 0]),
        ((-1, 0, 0, 0, -1, 0), axial(5, 0, 10), [1, 0, 2]),  # turned half way round: still upwards
        ((1, 0, 0, 0, -1, 0), axial(5, 0, 10), [1, 0, 2]),  # prone: the normal points down
    ],
)
def test_every_orientation_has_its_order(
    series: MakeSeries, orientation: Any, positions: Any, expected: list[int]
) -> None:
    assert numbers(load(series(positions, orientation))) == expected


def test_an_oblique_series_is_ordered_along_its_normal(series: MakeSeries) -> None:
    c, s = np.cos(0.6), np.sin(0.6)
    normal = np.array([0, -s, c])
    places = [9.0, 0.0, 3.0, 6.0]
    positions = [tuple(float(v) for v in normal * k + [7, 8, 9]) for k in places]
    loaded = load(series(positions, (1, 0, 0, 0, float(c), float(s))))
    assert numbers(loaded) == [1, 2, 3, 0]
    assert loaded.spacing[0] == pytest.approx(3)
    assert loaded.warnings == []


def test_a_list_of_files_loads_like_its_folder(series: MakeSeries) -> None:
    folder = series(axial(0, 1, 2))
    assert numbers(load(folder.iterdir())) == numbers(load(str(folder))) == [0, 1, 2]


def test_a_copy_of_a_slice_counts_once(series: MakeSeries) -> None:
    folder = series(axial(0, 1, 2))
    (folder / "copy").write_bytes((folder / "IM0000").read_bytes())
    assert len(load(folder).voxels) == 3


def test_a_tilted_gantry_is_a_warning(series: MakeSeries) -> None:
    tilted = [(0.0, 5.0 * k * np.tan(np.radians(12)), 5.0 * k) for k in range(4)]
    loaded = load(series(tilted))
    assert loaded.warnings == [Code.GANTRY_TILT]
    assert loaded.spacing[0] == pytest.approx(5)


@pytest.mark.parametrize("heights", [(0, 5, 10, 20, 25), (0, 5, 10, 14, 19)])
def test_a_gap_or_an_uneven_step_is_a_warning(
    series: MakeSeries, heights: tuple[float, ...]
) -> None:
    loaded = load(series(axial(*heights)))
    assert loaded.warnings == [Code.MISSING_SLICES]
    assert loaded.places == list(heights)
    assert loaded.spacing[0] == 5


def test_rounded_positions_are_no_gap(series: MakeSeries) -> None:
    assert load(series(axial(0, 0.63, 1.25, 1.88, 2.5))).warnings == []


def test_two_slices_at_one_place_are_refused(series: MakeSeries) -> None:
    with pytest.raises(HilumError) as error:
        load(series(axial(0, 5, 5, 10)))
    assert code(error) is Code.DUPLICATE_SLICES
    assert "at 5.00 mm" in error.value.detail


def test_several_series_need_a_choice(series: MakeSeries) -> None:
    series(axial(0, 1), first=0)
    folder = series(axial(0, 1, 2), first=10)
    with pytest.raises(HilumError) as error:
        load(folder)
    assert code(error) is Code.MIXED_SERIES
    assert "2 series of 3, 2 slices" in error.value.detail
    assert [len(load(folder, series=k).voxels) for k in (1, 2)] == [3, 2]
    for wrong in (0, 3):
        with pytest.raises(HilumError) as error:
            load(folder, series=wrong)
        assert code(error) is Code.OPTION_INVALID


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("orientation", {"orientation": CORONAL}),
        ("pixel spacing", {"PixelSpacing": [0.8, 0.6]}),
        ("modality", {"Modality": "MR"}),
    ],
)
def test_a_slice_unlike_the_others_is_refused(
    series: MakeSeries, make_file: Callable[..., Path], name: str, different: dict[str, Any]
) -> None:
    folder = series(axial(0, 1, 2), SeriesInstanceUID="1.2.3.4")
    elements = {
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "ImageOrientationPatient": list(different.pop("orientation", AXIAL)),
        "ImagePositionPatient": [-100, -120, 3],
        "PixelSpacing": [0.8, 0.5],
        **different,
    }
    make_file(np.zeros((6, 5), np.uint16), name="ct/odd", **elements)
    with pytest.raises(HilumError) as error:
        load(folder)
    assert (code(error), error.value.detail) == (Code.SLICES_DISAGREE, name)


@pytest.mark.parametrize(
    "broken",
    [
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 1]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]},
        {"ImageOrientationPatient": [1, 0, 0]},
        {"ImagePositionPatient": None},
    ],
)
def test_a_slice_without_its_place_is_refused(
    make_file: Callable[..., Path], broken: dict[str, Any], tmp_path: Path
) -> None:
    for k in range(2):
        elements = {
            "ImageOrientationPatient": list(AXIAL),
            "ImagePositionPatient": [0, 0, k],
            "PixelSpacing": [1, 1],
            "SeriesInstanceUID": "1.2",
            "StudyInstanceUID": "1.1",
            **broken,
        }
        make_file(name=f"ct/{k}", **elements)
    with pytest.raises(HilumError) as error:
        load(tmp_path / "ct")
    assert code(error) is Code.GEOMETRY_MISSING


def test_what_is_no_volume(series: MakeSeries, tmp_path: Path, phantoms: list[Path]) -> None:
    cases: list[tuple[Path, Code]] = [
        (series(axial(0)), Code.NOT_A_VOLUME),
        (phantoms[0], Code.NOT_A_VOLUME),
        (tmp_path / "nowhere", Code.FILE_NOT_FOUND),
        (tmp_path / "nowhere.nii.gz", Code.FILE_NOT_FOUND),
    ]
    for path, expected in cases:
        with pytest.raises(HilumError) as error:
            load(path)
        assert code(error) is expected


def test_several_frames_in_one_file_are_refused(series: MakeSeries) -> None:
    with pytest.raises(HilumError) as error:
        load(series(axial(0, 1), NumberOfFrames=2))
    assert code(error) is Code.SEVERAL_FRAMES


def test_a_volume_past_the_limit_is_refused(
    series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "MAX_VOXELS", 89)
    with pytest.raises(HilumError) as error:
        load(series(axial(0, 1, 2)))
    assert code(error) is Code.TOO_MANY_PIXELS


def test_a_damaged_slice_fails_the_volume(series: MakeSeries) -> None:
    folder = series(axial(0, 1, 2))
    content = (folder / "IM0001").read_bytes()
    (folder / "IM0001").write_bytes(content[:-20])
    with pytest.raises(HilumError) as error:
        load(folder)
    assert code(error) is Code.FILE_DAMAGED


def made(voxels: NDArray[np.float32]) -> Volume:
    n = len(voxels)
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    return Volume(
        voxels=voxels, modality="CT", spacing=(1, 1, 1), origin=(0, 0, 0), directions=axes,
        places=[float(k) for k in range(n)],
    )  # fmt: skip


def test_windows_show_what_they_are_for() -> None:
    levels = np.array([-1400, -850, -600, -100, 50, 200, 400, 1300], np.float32)
    loaded = made(np.tile(levels, (2, 4, 1)))
    shown = {name: loaded.slices(name)[0, 0].tolist() for name in WINDOWS}
    assert shown["lung"][0] == 0
    assert 126 <= shown["lung"][2] <= 128
    assert shown["lung"][5] == 255
    assert shown["mediastinum"][:3] == [0, 0, 0]
    assert 127 <= shown["mediastinum"][4] <= 129
    assert shown["mediastinum"][6] == 255
    assert shown["bone"][0] == 0
    assert 127 <= shown["bone"][6] <= 129
    assert shown["bone"][7] == 255
    own = loaded.slices(Window(center=50, width=100))
    assert own[0, 0].tolist()[3:6] == [0, 129, 255]


def test_without_a_window_the_range_is_the_volume_s_own() -> None:
    ramp = np.linspace(5000, 6000, 3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    shown = made(ramp).slices()
    assert shown.min() == 0
    assert shown.max() == 255
    assert (made(np.full((2, 8, 8), 7, np.float32)).slices() < 256).all()  # flat: no division by 0


@given(total=st.integers(1, 60), count=st.integers(1, 80))
def test_picked_slices_are_spread_evenly(total: int, count: int) -> None:
    levels = np.arange(total, dtype=np.float32)
    voxels = np.broadcast_to(levels[:, None, None], (total, 2, 2)).copy()
    window = Window(center=127.5, width=255, function="LINEAR_EXACT")
    picked = made(voxels).slices(window, count)[:, 0, 0].tolist()
    assert len(picked) == min(total, count)
    assert picked == sorted(set(picked))
    steps = np.diff([-0.5, *picked, total - 0.5])
    if count <= total:  # as far from each other as from the ends, twice
        assert steps[1:-1].size == 0 or steps[1:-1].max() - steps[1:-1].min() <= 1
        assert abs(steps[0] - steps[-1]) <= 1


@pytest.mark.parametrize("option", [{"window": "liver"}, {"count": 0}])
def test_unknown_options_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(HilumError) as error:
        made(np.zeros((2, 4, 4), np.float32)).slices(**option)
    assert code(error) is Code.OPTION_INVALID


def write_nifti(path: Path, data: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    nib = pytest.importorskip("nibabel", reason="needs hilum[volume]")
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def test_nifti_equals_the_dicom_it_was_made_from(series: MakeSeries, tmp_path: Path) -> None:
    loaded = load(series(axial(0, 4, 8)))
    steps = [np.array(d) * s for d, s in zip(loaded.directions, loaded.spacing, strict=True)]
    lps = np.eye(4)
    lps[:3, :3] = np.stack(steps[::-1], axis=1)
    lps[:3, 3] = loaded.origin
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    data = loaded.voxels.transpose(2, 1, 0).copy()
    again = load(write_nifti(tmp_path / "v.nii.gz", data, ras))
    assert np.array_equal(again.voxels, loaded.voxels)
    assert again.spacing == pytest.approx(loaded.spacing)
    assert again.origin == pytest.approx(loaded.origin)
    assert np.allclose(again.directions, loaded.directions)
    assert again.places == pytest.approx(loaded.places)


@given(
    order=st.permutations([0, 1, 2]), flips=st.tuples(st.booleans(), st.booleans(), st.booleans())
)
def test_nifti_axes_may_be_stored_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], flips: tuple[bool, ...]
) -> None:
    """The same anatomy stored with its axes swapped and turned is the same volume."""
    data = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    folder = tmp_path_factory.mktemp("nifti")
    plain = load(write_nifti(folder / "a.nii", data, affine))
    turned, moved = data.transpose(order), affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            moved[:, 3] += moved[:, axis] * (turned.shape[axis] - 1)
            moved[:, axis] *= -1
            turned = np.flip(turned, axis)
    again = load(write_nifti(folder / "b.nii", turned.copy(), moved))
    assert np.array_equal(again.voxels, plain.voxels)
    assert again.spacing == pytest.approx(plain.spacing) == (4, 3, 2)
    assert again.origin == pytest.approx(plain.origin)


def test_a_sheared_nifti_is_a_tilt(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.2
    loaded = load(write_nifti(tmp_path / "v.nii", np.zeros((4, 4, 4), np.float32), affine))
    assert loaded.warnings == [Code.GANTRY_TILT]
    assert loaded.spacing[0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros((4, 4, 1), np.float32), Code.NOT_A_VOLUME),
        (np.zeros((4, 4, 4, 3), np.float32), Code.NOT_A_VOLUME),
        (np.full((4, 4, 4), np.nan, np.float32), Code.PIXELS_UNDECODABLE),
        (np.zeros((4, 4, 4), np.complex64), Code.PIXELS_UNDECODABLE),
    ],
)
def test_nifti_files_that_are_no_volume(tmp_path: Path, data: NDArray[Any], expected: Code) -> None:
    path = write_nifti(tmp_path / "v.nii", data, np.eye(4))
    with pytest.raises(HilumError) as error:
        load(path)
    assert code(error) is expected


def test_a_nifti_of_one_time_is_a_volume(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", np.zeros((4, 5, 6, 1), np.float32), np.eye(4))
    assert load(path).voxels.shape == (6, 5, 4)


def test_damaged_nifti_files(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "v.nii.gz", np.ones((20, 20, 20), np.float32), np.eye(4))
    content = gzip.decompress(whole.read_bytes())
    huge = bytearray(content[:352])
    huge[42:48] = b"\xff\x7f" * 3  # 32767 cubed, in 352 bytes
    cases = {
        "cut.nii": (content[:5000], Code.FILE_DAMAGED),
        "cut.nii.gz": (whole.read_bytes()[:90], Code.FILE_DAMAGED),
        "text.nii": (b"not a volume", Code.FILE_DAMAGED),
        "empty.nii": (b"", Code.FILE_DAMAGED),
        "huge.nii": (bytes(huge), Code.TOO_MANY_PIXELS),
    }
    for name, (bytes_, expected) in cases.items():
        (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(HilumError) as error:
            load(tmp_path / name)
        assert (name, code(error)) == (name, expected)


def test_nifti_without_nibabel_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(HilumError) as error:
        load(tmp_path / "v.nii")
    assert code(error) is Code.EXTRA_MISSING
    assert "hilum[volume]" in error.value.detail


def test_real_volumes(dev_data: Path) -> None:
    ct = load(dev_data / "ct" / "example_ct_dicom")
    assert ct.voxels.shape == (20, 512, 512)
    assert ct.spacing == pytest.approx((2, 0.9765625, 0.9765625))
    assert ct.warnings == []
    assert ct.voxels[:, 0, 0].max() < -900  # air beside the patient, in HU
    assert np.diff(ct.places) == pytest.approx(2)
    small = load(dev_data / "ct" / "example_ct_sm.nii.gz")
    assert small.voxels.shape == (30, 101, 122)
    # the spine is the brightest thing in the back half of both, as the table lies below
    for loaded in (ct, small):
        bone = loaded.voxels.mean(axis=0) > 200
        assert np.argwhere(bone)[:, 0].mean() > 0.5 * loaded.voxels.shape[1]
