"""What many tests need: real files where they are at hand, and DICOM files made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

# How long an example takes is the machine's business: no test is about it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MakeDataset = Callable[..., Dataset]
MakeFile = Callable[..., Path]


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """The folder of real films, read only; a test that asks for it is skipped without it."""
    named = os.environ.get("HILUM_DEV_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; set HILUM_DEV_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """A function that builds the data set of one film; see ``_dataset``."""
    return _dataset


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """A function that writes a DICOM file of one film and answers its path.

    ``name`` is the file's name, ``raw`` holds elements as the bytes to write whatever their
    VR says, ``preamble=False`` leaves out the preamble and the file meta.
    """

    def write(
        pixels: NDArray[Any] | None = None,
        *,
        name: str = "film.dcm",
        raw: dict[str, bytes] | None = None,
        preamble: bool = True,
        **elements: Any,
    ) -> Path:
        ds = _dataset(pixels, **elements)
        if raw:  # implicit VR: the reader takes the VR from its dictionary
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            for keyword, content in raw.items():
                padded = content + b" " * (len(content) % 2)
                tag = Tag(keyword)
                ds[tag] = RawDataElement(tag, None, len(padded), padded, 0, True, True)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if preamble:
            ds.save_as(path, enforce_file_format=True)
        else:
            syntax = ds.file_meta.TransferSyntaxUID
            del ds.file_meta
            ds.save_as(
                path,
                implicit_vr=syntax.is_implicit_VR,
                little_endian=syntax.is_little_endian,
                enforce_file_format=False,
            )
        return path

    return write


def ramp(rows: int = 256, columns: int = 256, top: int = 4095) -> NDArray[np.uint16]:
    """A film whose levels climb from 0 to ``top``, the same in no two rows or columns."""
    levels = np.linspace(0, top, rows * columns).reshape(rows, columns)
    return np.rint(levels).astype(np.uint16)


def _dataset(pixels: NDArray[Any] | None = None, **elements: Any) -> Dataset:
    """A computed radiograph of ``pixels`` (default: a 12-bit ramp).

    ``elements`` are set on top by keyword, or removed where they are None; ``file_meta``'s
    transfer syntax is ``syntax``.
    """
    pixels = ramp() if pixels is None else pixels
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = elements.pop("syntax", ExplicitVRLittleEndian)
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.PatientName, ds.PatientID = "DOE^JANE", "MRN-12345"
    ds.PatientAge, ds.PatientSex = "054Y", "F"
    ds.Rows, ds.Columns = pixels.shape[-2:] if pixels.ndim == 2 else pixels.shape[-3:-1]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored = bits, bits
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    stored = pixels.tobytes()
    ds.PixelData = stored + b"\0" * (len(stored) % 2)
    ds["PixelData"].VR = "OW"
    for keyword, content in elements.items():
        if content is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, content)
    if "HighBit" not in ds and "HighBit" not in elements:
        ds.HighBit = int(ds.get("BitsStored", bits)) - 1
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", ComputedRadiographyImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six simulated films of 256 pixels, PNG, with truth.jsonl beside them."""
    from hilum.phantom.corpus import make_corpus

    folder = tmp_path_factory.mktemp("phantoms")
    make_corpus(folder, 6, seed=5, size=256, format="png", processes=1)
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    """A reader's folder with the embedded reader's classes, far smaller.

    Its encoder is random, its decoder has learnt the reports of ``phantoms`` by heart, each with
    a ``<box>`` after the sentence of every instance, so that drafts differ, end and have places.
    """
    import torch
    from transformers import VisionEncoderDecoderConfig, VisionEncoderDecoderModel

    from hilum.models.embedded import FilmEncoderConfig
    from hilum.phantom.film import simulate
    from hilum.reading.score import Calibration
    from hilum.training.embedded import export, shards, words

    torch.set_num_threads(1)
    entries = [shards.entry(simulate(5, i, 256)) for i in range(len(phantoms))]
    tokenizer = words.make_tokenizer(entries)
    encoder = FilmEncoderConfig(
        image_size=128,
        channels=(8, 8, 8, 16, 16),
        hidden_size=32,
        detail=16,
        attention_layers=1,
        attention_heads=2,
    )
    config = VisionEncoderDecoderConfig(
        encoder=encoder, decoder=words.decoder_config(tokenizer, encoder.hidden_size)
    )
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionEncoderDecoderModel(config=config).eval()
        # the untrained head is zero: without this every cell would be the same peak
        torch.nn.init.normal_(model.encoder.heat[-1].weight, std=0.5)
    _learn_by_heart(model, words.Writer(tokenizer), entries, phantoms)
    folder = tmp_path_factory.mktemp("twin")
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = export._card(Calibration())
    (folder / "reader.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")
    return folder


LEARNT = 0.01  # mean loss of reports and answers at which the twin knows its films


def _learn_by_heart(
    model: Any, writer: Any, entries: list[dict[str, Any]], films: list[Path]
) -> None:
    """Trains the decoder on a report in each language and on the answers, for every film."""
    import torch
    from PIL import Image
    from torch.nn.functional import cross_entropy

    from hilum.models.embedded.configuration import CLASSES
    from hilum.models.embedded.processing import fit, normalise
    from hilum.training.embedded.decoder_stage import _asked
    from hilum.training.embedded.words import QUESTIONS

    size = model.config.encoder.image_size
    squares = np.stack([fit(np.asarray(Image.open(path)), size)[0] for path in films])
    able = torch.cpu.get_capabilities()  # as the engine decides
    half = bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        batch = normalise(torch.from_numpy(squares)[:, None])
        last = torch.channels_last
        encoder = model.encoder.half().float().to(memory_format=last)  # as it will be saved
        hidden = encoder(batch.contiguous(memory_format=last)).last_hidden_state
    hidden = hidden.float()
    first = np.cumsum([0, *CLASSES.values()])
    texts = []
    for entry in entries:
        kinds = [int(row[0]) for row in entry["instances"]]
        slots = [int(first[kind]) + kinds[:k].count(kind) for k, kind in enumerate(kinds)]
        texts += [torch.tensor(writer.report(entry, language, slots)) for language in ("en", "zh")]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)  # the pad token is 0
    labels = torch.where(ids[:, 1:] == 0, -100, ids[:, 1:])
    labels[:, 0] = -100  # the language is given
    yes, no = writer.answers
    answers = torch.tensor([yes if q.true(e) else no for e in entries for q in QUESTIONS.values()])
    prompts = [writer.question(q) for q in QUESTIONS.values()] * len(entries)
    twice, often = hidden.repeat_interleave(2, 0), hidden.repeat_interleave(len(QUESTIONS), 0)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=1e-2)
    for _ in range(400):
        said = model.decoder(input_ids=ids[:, :-1], encoder_hidden_states=twice, use_cache=False)
        told = _asked(model.decoder, often, prompts)
        loss = cross_entropy(said.logits.flatten(0, 1), labels.flatten())
        loss = loss + 0.2 * cross_entropy(told, answers)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
        optimizer.step()
        if loss.item() < LEARNT:
            break
