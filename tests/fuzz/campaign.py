"""Mutated films against every decoder: the parent must live, and every file get one line.

    python -m tests.fuzz.campaign --count 10000
    python -m tests.fuzz.campaign --count 10000 --only JPEGLosslessSV1 zip
    python -m tests.fuzz.campaign --count 1000 --real ../shared/data/dicom

One row a decoder: files, how many were read all the same, the refusals by code, and how the
children fared: crashes, time-outs, memory. Last line: JSON. The default suite runs a short version.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from benchmarks import films
from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.imaging import children, volume
from hilum.imaging.child import Limits
from hilum.imaging.children import Pool
from hilum.imaging.decode import DECODERS

Rng = np.random.Generator
WORDS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def dicom(syntax: str, bits: int) -> bytes:
    out = io.BytesIO()
    x = films.levels(bits, rows=40, columns=56)
    more = {
        "WindowCenter": "100",
        "WindowWidth": "200",
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    }
    films.dataset(x, syntax, bits, **more).save_as(out, enforce_file_format=True)
    return out.getvalue()


def raster(form: str, bits: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(films.levels(bits, rows=40, columns=56)).save(out, form)
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("A/IM1", dicom(ExplicitVRLittleEndian, 12))
        packed.writestr("A/IM2", raster("PNG", 8))
    return out.getvalue()


def nifti() -> bytes:
    """A small volume, tilted, with a slope and an intercept."""
    import nibabel

    tilted = np.array([[-2, 0, 0, 9], [0, 3, 0.1, 9], [0, -0.2, 4, 9], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(
        films.levels(12, rows=20, columns=24 * 9).reshape(20, 24, 9), tilted
    )
    image.header.set_slope_inter(2, -1024)
    return bytes(image.to_bytes())


LISTED = ("A/IM1", "A/IM2", "B/IM3")


def directory() -> bytes:
    """A DICOMDIR of the films that :func:`lay_out` writes, with patient, study and series."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.FileSetID = "EXPORT"
    ds.DirectoryRecordSequence = [
        _record("PATIENT", PatientName="王^小明".encode("gb18030").decode("latin1")),
        _record("STUDY", StudyInstanceUID="1.2.1"),
        _record("SERIES", SeriesInstanceUID="1.2.1.1", Modality="CR"),
        *(_record("IMAGE", ReferencedFileID=name.split("/")) for name in LISTED),
    ]
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _record(kind: str, **elements: str | list[str]) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.RecordInUseFlag, record.DirectoryRecordType = 0xFFFF, kind
    for keyword, content in elements.items():
        setattr(record, keyword, content)
    return record


def lay_out(folder: Path) -> None:
    """Whole films where the DICOMDIR says they are."""
    for name in LISTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(dicom(ExplicitVRLittleEndian, 12))


def seeds() -> dict[str, list[bytes]]:
    """Small whole files by the name of what decodes them."""
    found = {
        syntax.keyword: [dicom(syntax, bits) for bits in films.DEPTHS.get(syntax, (8, 12, 16))]
        for syntax in DECODERS
    }
    for form in ("PNG", "JPEG", "TIFF"):
        found[form] = [raster(form, bits) for bits in ((8,) if form == "JPEG" else (8, 16))]
    found["zip"], found["DICOMDIR"] = [archive()], [directory()]
    found["NIfTI"], found["NIfTI, gzip"] = [nifti()], [gzip.compress(nifti())]
    return found


def real_seeds(folder: Path, most: int = 400_000) -> dict[str, list[bytes]]:
    """Real files of a folder that are small enough, under one name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {"real": [path.read_bytes() for path in files if path.stat().st_size <= most]}


def mutated(content: bytes, rng: Rng) -> bytes:
    """One to eight changes: in seven of ten DICOM files behind PixelData's tag, else anywhere."""
    data = bytearray(content)
    start = max(0, content.rfind(b"\xe0\x7f\x10\x00")) if rng.random() < 0.7 else 0
    for _ in range(int(rng.integers(1, 9))):
        if len(data) < start + 8:
            break
        at = int(rng.integers(start, len(data)))
        CHANGES[int(rng.integers(len(CHANGES)))](data, at, rng)
    return bytes(data)


def _flip(data: bytearray, at: int, rng: Rng) -> None:
    data[at] ^= 1 << int(rng.integers(8))


def _byte(data: bytearray, at: int, rng: Rng) -> None:
    data[at] = int(rng.integers(256))


def _word(data: bytearray, at: int, rng: Rng) -> None:
    size = int(rng.choice([1, 2, 4]))
    word = WORDS[int(rng.integers(len(WORDS)))] & (256**size - 1)
    data[at : at + size] = word.to_bytes(size, "little" if rng.random() < 0.5 else "big")


def _cut(data: bytearray, at: int, rng: Rng) -> None:
    if rng.random() < 0.2:
        del data[at:]
    else:
        del data[at : at + int(rng.integers(1, 64))]


def _repeat(data: bytearray, at: int, rng: Rng) -> None:
    data[at:at] = data[at : at + int(rng.integers(1, 200))] * int(rng.integers(1, 4))


def _noise(data: bytearray, at: int, rng: Rng) -> None:
    size = int(rng.integers(1, 32))
    data[at : at + size] = rng.bytes(size)


def _copy(data: bytearray, at: int, rng: Rng) -> None:
    start, size = int(rng.integers(len(data))), int(rng.integers(1, 32))
    data[at : at + size] = data[start : start + size]


CHANGES: list[Callable[[bytearray, int, Rng], None]] = [
    _flip, _flip, _byte, _word, _word, _cut, _repeat, _noise, _copy,
]  # fmt: skip


NAMES = {"NIfTI": "volume.nii", "NIfTI, gzip": "volume.nii.gz"}
"""What a volume's file must be called; a film may be called anything."""


def run(
    pool: Pool, contents: list[bytes], count: int, seed: int, folder: Path, name: str = "film"
) -> Counter[str]:
    """Read ``count`` mutated files; the outcomes. Anything but a view or a code is an error."""
    rng, outcomes = np.random.default_rng(seed), Counter[str]()
    path = folder / name
    lay_out(folder)
    for index in range(count):
        path.write_bytes(mutated(contents[index % len(contents)], rng))
        try:
            outcomes[_read(pool, path)] += 1
        except HilumError as error:
            outcomes[error.code] += 1
    return outcomes


def _read(pool: Pool, path: Path) -> str:
    if path.name in NAMES.values():
        with mock.patch.object(children, "_pool", pool):
            assert volume.load(path).slices(count=2).dtype == np.uint8
        return "read"
    identity = pool.ask("identify", path)["identity"]
    if identity["archive"] or identity["directory"]:
        return _read_all(pool, path)
    view, _ = pool.read(path)
    assert np.isfinite(view.pixels).all()
    assert view.display().dtype == np.uint8
    return "read"


def _read_all(pool: Pool, path: Path) -> str:
    """Every film of an archive or a DICOMDIR, as ``hilum read`` does. Raises the first error."""
    errors = []
    with mock.patch.object(children, "_pool", pool):
        for files in imaging.scan([path]):
            try:
                imaging.load(files)
            except HilumError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="files a decoder")
    parser.add_argument("--only", nargs="*", help="names of decoders")
    parser.add_argument("--real", type=Path, help="a folder of real films to mutate instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0, help="time limit of one file")
    args = parser.parse_args()
    table = real_seeds(args.real) if args.real else seeds()
    total: Counter[str] = Counter()
    for name in args.only or table:
        pool, begun = Pool(1, Limits(seconds=args.seconds)), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            film = NAMES.get(name, "film")
            outcomes = run(pool, table[name], args.count, args.seed, Path(folder), film)
        pool.close()
        died = {code: pool.deaths[code] for code in (Code.DECODER_DIED, Code.DECODER_TOO_SLOW)}
        died[Code.TOO_MANY_PIXELS] = pool.deaths[Code.TOO_MANY_PIXELS]
        total.update(files=args.count, read=outcomes["read"])
        total.update({f"children_{code}": number for code, number in died.items()})
        refused = ", ".join(f"{code} {n}" for code, n in outcomes.most_common() if code != "read")
        ended = "/".join(str(number) for number in died.values())
        seconds = time.perf_counter() - begun
        print(
            f"{name:30} {args.count} files, {outcomes['read']} read; {refused}; "
            f"children lost (crash/time/memory) {ended}; {seconds:.0f} s",
            flush=True,
        )
    print(json.dumps({"parent_deaths": 0, **total}))


if __name__ == "__main__":
    sys.exit(main())
