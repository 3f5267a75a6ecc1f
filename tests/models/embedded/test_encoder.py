"""The film encoder: shapes, proposals, and that nothing changes when it is saved and opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from hilum.models.embedded import FilmEncoder, FilmEncoderConfig, FilmEncoderOutput
from hilum.models.embedded.configuration import CLASSES, LOOKS

SIZE, SLOTS = 128, sum(CLASSES.values())
PACKAGE_LIMIT = 20e6  # bytes of weights in the package


def small(**more: object) -> FilmEncoderConfig:
    sizes = {"image_size": SIZE, "channels": (8, 8, 8, 16, 16), "hidden_size": 32, "detail": 16}
    return FilmEncoderConfig(**{**sizes, "attention_layers": 1, "attention_heads": 2, **more})


def make(config: FilmEncoderConfig) -> FilmEncoder:
    """An encoder whose heads say something; untrained, they are zero and every cell is a peak."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = FilmEncoder(config).eval()
        torch.nn.init.normal_(encoder.heat[-1].weight, std=0.3)
        for norm in (m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return encoder


def films(n: int, size: int = SIZE) -> torch.Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def encoder() -> FilmEncoder:
    torch.set_num_threads(1)
    return make(small())


@torch.inference_mode()
def read(encoder: FilmEncoder, batch: torch.Tensor) -> FilmEncoderOutput:
    return encoder(batch)


# -- what is saved is what was trained --------------------------------------------------------


def test_classes_keep_their_order_though_json_sorts_its_keys(tmp_path: Path) -> None:
    """Channels and slots are positional: in another order an effusion would be a fracture."""
    small().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert list(written["classes"]) == sorted(CLASSES) != list(CLASSES)  # the trap
    assert list(FilmEncoderConfig.from_pretrained(tmp_path).classes) == list(CLASSES)
    backwards = dict(reversed(CLASSES.items()))
    assert list(FilmEncoderConfig(classes=backwards).classes) == list(CLASSES)
    assert list(FilmEncoderConfig(classes={"fracture": 2, "nodule": 1}).classes) == [
        "nodule",
        "fracture",
    ]


def test_a_class_without_a_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="hernia"):
        FilmEncoderConfig(classes={"hernia": 1})
    with pytest.raises(ValueError, match="hernia"):
        FilmEncoderConfig(looks={"hernia": 48})


def test_defaults_are_not_shared() -> None:
    FilmEncoderConfig().classes["fracture"] = 1
    FilmEncoderConfig().looks["fracture"] = 1
    assert FilmEncoderConfig().classes == CLASSES
    assert FilmEncoderConfig().looks == LOOKS


def test_what_is_not_proposed_is_not_looked_at() -> None:
    assert FilmEncoderConfig(classes={"fracture": 2, "nodule": 1}).looks == LOOKS
    assert list(FilmEncoderConfig(classes={"fracture": 2}).looks) == ["fracture"]


def test_the_auto_classes_open_what_was_saved_exactly(encoder: FilmEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is FilmEncoderConfig
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert type(again) is FilmEncoder
    saved, opened = encoder.state_dict(), again.state_dict()
    assert saved.keys() == opened.keys()
    assert all(torch.equal(saved[name], opened[name]) for name in saved)
    # sums are added up in another order where other memory begins elsewhere
    before, after = read(encoder, films(2)), read(again, films(2))
    torch.testing.assert_close(dict(before), dict(after), rtol=1e-4, atol=1e-4)


def test_a_vision_encoder_decoder_is_opened_exactly(twin: Path, tmp_path: Path) -> None:
    """The way in without Hilum's engine, and the config below another one keeps its order too."""
    first = VisionEncoderDecoderModel.from_pretrained(twin, dtype=torch.float32).eval()
    assert isinstance(first.encoder, FilmEncoder)
    first.save_pretrained(tmp_path)
    config = VisionEncoderDecoderConfig.from_pretrained(tmp_path)
    assert list(config.encoder.classes) == list(CLASSES)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    states = first.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    a, b = read(first.encoder, films(1)), read(again.encoder, films(1))
    assert torch.equal(a.last_hidden_state, b.last_hidden_state)
    assert torch.equal(a.boxes, b.boxes)


def test_nothing_of_it_is_remote_code(twin: Path) -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in twin.glob("*.json"))
    assert "auto_map" not in text
    assert not list(twin.glob("*.py")) + list(twin.glob("*.bin")) + list(twin.glob("*.pt"))


# -- the output -------------------------------------------------------------------------------


def test_batched_equals_one_at_a_time(encoder: FilmEncoder) -> None:
    batch = films(4)
    together = read(encoder, batch)
    for b in range(4):
        alone = read(encoder, batch[b : b + 1])
        assert torch.equal(alone.cells[0], together.cells[b])
        for name in ("last_hidden_state", "boxes", "scores", "heatmaps", "ribs"):
            torch.testing.assert_close(alone[name][0], together[name][b], rtol=5e-4, atol=1e-4)


def test_films_do_not_look_alike(encoder: FilmEncoder) -> None:
    out = read(encoder, films(2))
    assert not torch.allclose(out.last_hidden_state[0], out.last_hidden_state[1], atol=1e-3)
    assert len(set(out.cells[0].tolist())) > SLOTS // 2


def test_memory_layout_does_not_matter(encoder: FilmEncoder) -> None:
    other = films(2).contiguous(memory_format=torch.channels_last)
    plain, last = read(encoder, films(2)), read(encoder, other)
    torch.testing.assert_close(plain.last_hidden_state, last.last_hidden_state)


@pytest.mark.parametrize("size", [32, 64, 96, 160])
def test_shapes(size: int) -> None:
    out = read(make(small(image_size=size)), films(3, size))
    cells = size // 8
    assert out.last_hidden_state.shape == (3, SLOTS, 32)
    assert out.boxes.shape == (3, SLOTS, 4)
    assert out.scores.shape == out.cells.shape == (3, SLOTS)
    assert out.heatmaps.shape == (3, len(CLASSES), cells, cells)
    assert out.sizes.shape == (3, 2 * len(CLASSES), cells, cells)
    assert out.ribs.shape == (3, 36, cells, cells)
    assert out.detail.shape == (3, 16, cells, cells)
    assert out.context.shape == (3, 32, size // 32, size // 32)


def test_a_film_of_another_size_is_not_read_by_mistake(encoder: FilmEncoder) -> None:
    with pytest.raises(RuntimeError):
        read(encoder, films(1, 2 * SIZE))


def test_blank_and_extreme_films_give_finite_numbers(encoder: FilmEncoder) -> None:
    batch = torch.stack([torch.full((1, SIZE, SIZE), v) for v in (-2.0, 0.0, 2.0, 1e4)])
    out = read(encoder, batch)
    assert all(torch.isfinite(value).all() for value in out.values())


# -- proposals --------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [-8.0, 0.0, 8.0, 80.0])
def test_boxes_lie_inside_the_input_whatever_the_size_head_says(reach: float) -> None:
    encoder = make(small())
    with torch.no_grad():
        encoder.heat[-1].bias[len(CLASSES) :] = reach
    boxes = read(encoder, films(3)).boxes
    assert torch.isfinite(boxes).all()
    assert boxes.min() >= 0
    assert boxes.max() <= SIZE - 1
    assert (boxes[..., 0] <= boxes[..., 2]).all()
    assert (boxes[..., 1] <= boxes[..., 3]).all()


def test_slots_belong_to_their_class_and_are_sorted_by_score(encoder: FilmEncoder) -> None:
    with torch.inference_mode():
        out = encoder(films(2), second_look=False)
    start = 0
    for c, keep in enumerate(CLASSES.values()):
        slots = slice(start, start + keep)
        heat = out.heatmaps[:, c].flatten(1)
        found = heat.gather(1, out.cells[:, slots])
        # a place that is no peak keeps its cell, 20 lower: only where there are too few peaks
        peak = out.scores[:, slots] == found
        assert (peak | (out.scores[:, slots] == found - 20)).all()
        assert torch.equal(out.scores[:, start], heat.max(1).values)
        assert (out.scores[:, slots].diff(dim=1) <= 0).all()
        start += keep


def test_no_two_proposals_of_a_class_are_neighbours(encoder: FilmEncoder) -> None:
    out = read(encoder, films(1))
    wide, start = SIZE // 8, 0
    for c, keep in enumerate(CLASSES.values()):
        cells, scores = out.cells[0, start : start + keep], out.scores[0, start : start + keep]
        heat = out.heatmaps[0, c].flatten()[cells]
        peaks = [
            divmod(int(i), wide) for i, s, h in zip(cells, scores, heat, strict=True) if s == h
        ]
        for k, (y, x) in enumerate(peaks):
            assert all(max(abs(y - v), abs(x - u)) > 1 for v, u in peaks[:k])
        start += keep


def test_a_proposal_is_its_cell_described_plus_its_slot(encoder: FilmEncoder) -> None:
    """Training asks `describe` of true centres; the decoder then reads it at peaks."""
    with torch.inference_mode():
        out = encoder(films(2), second_look=False)
        kinds = [c for c, keep in enumerate(CLASSES.values()) for _ in range(keep)]
        kind = torch.tensor(kinds).expand_as(out.cells)
        described = encoder.proposals.describe(encoder.look(out, out.cells, kind), kind)
        tokens = out.last_hidden_state - encoder.proposals.slot.weight
        torch.testing.assert_close(described, tokens, rtol=1e-5, atol=1e-5)
        place = out.cells[:, 5:6], kind[:, 5:6]
        one = encoder.proposals.describe(encoder.look(out, *place), place[1])
    torch.testing.assert_close(one, tokens[:, 5:6], rtol=1e-5, atol=1e-5)


def test_the_centre_of_a_box_is_the_middle_of_its_cell() -> None:
    encoder = make(small())
    with torch.no_grad():
        encoder.heat[-1].bias[len(CLASSES) :] = -3.0  # small enough to lie inside
        encoder.heat[-1].weight[len(CLASSES) :] = 0
    out = read(encoder, films(1))
    centre = (out.boxes[0, :, :2] + out.boxes[0, :, 2:]) / 2
    wide = SIZE // 8
    expected = torch.stack([out.cells[0] % wide, out.cells[0] // wide], -1) * 8 + 3.5
    torch.testing.assert_close(centre, expected)


def test_only_the_text_and_not_the_peaks_carry_a_gradient_to_the_heat(encoder: FilmEncoder) -> None:
    """The decoder's loss must not move heatmaps and sizes; their own losses do."""
    encoder.zero_grad()
    with torch.enable_grad():
        encoder(films(1)).last_hidden_state.sum().backward()
    head = encoder.heat[-1].weight.grad
    assert head is None or not head.any()
    assert encoder.proposals.slot.weight.grad.any()
    encoder.zero_grad()


# -- second looks -----------------------------------------------------------------------------


def test_only_the_places_of_classes_with_a_look_are_told(encoder: FilmEncoder) -> None:
    batch = films(2)
    with torch.inference_mode():
        once, twice = encoder(batch, second_look=False), encoder(batch)
    assert torch.equal(once.cells, twice.cells)
    changed = torch.zeros(SLOTS, dtype=torch.bool)
    for name in LOOKS:
        changed[encoder.slots[name]] = True
    assert torch.equal((once.scores != twice.scores).all(0), changed)
    told = (once.last_hidden_state != twice.last_hidden_state).any(-1).all(0)
    assert torch.equal(told, changed)
    plain = make(small(looks={}))
    plain.load_state_dict(encoder.state_dict(), strict=False)
    assert torch.equal(read(plain, batch).scores, once.scores)


def test_a_piece_is_the_film_around_its_place(encoder: FilmEncoder) -> None:
    """Also at the film's edge, whose last row goes on."""
    batch = films(1)
    out = read(encoder, batch)
    for name, side in LOOKS.items():
        padded = torch.nn.functional.pad(batch, [side // 2] * 4, mode="replicate")[0]
        pieces = encoder.pieces(name, batch, out)[0]
        for piece, (x, y) in zip(pieces, encoder.places(name, out)[0].tolist(), strict=True):
            assert torch.equal(piece, padded[:, y : y + side, x : x + side])


def test_a_mirrored_piece_is_the_same_piece(encoder: FilmEncoder) -> None:
    """But for training, where pieces are mirrored by chance."""
    glimpse, scores = encoder.glimpse("fracture"), torch.zeros(4)
    pieces = films(4)[..., :48, :48]
    with torch.inference_mode():
        seen, logits = glimpse(pieces, scores)
        again, likewise = glimpse(pieces.flip(3), scores)
        trained, _ = glimpse.train()(pieces, scores)
        other, _ = glimpse(pieces.flip(3), scores)
        glimpse.eval()
    torch.testing.assert_close(seen, again)
    torch.testing.assert_close(logits, likewise)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2)
    assert not torch.allclose(trained, other, atol=1e-2)


# -- size -------------------------------------------------------------------------------------


def test_the_packaged_reader_stays_under_20_mb() -> None:
    from transformers import MBartConfig

    from hilum.training.embedded.words import VOCABULARY

    with torch.device("meta"):
        encoder = FilmEncoder(FilmEncoderConfig())
    count = sum(p.numel() for p in encoder.parameters())
    assert count == pytest.approx(4_249_000, rel=0.01)
    config = FilmEncoderConfig()
    assert (config.image_size, config.hidden_size) == (640, 256)
    decoder = MBartConfig(
        vocab_size=VOCABULARY,
        d_model=256,
        decoder_layers=4,
        decoder_ffn_dim=1024,
        decoder_attention_heads=4,
        max_position_embeddings=256,
        is_decoder=True,
        add_cross_attention=True,
    )
    both = VisionEncoderDecoderConfig(encoder=config, decoder=decoder)
    with torch.device("meta"):
        model = VisionEncoderDecoderModel(config=both)
    total = sum(p.numel() for p in model.parameters())
    assert total == pytest.approx(8_660_000, rel=0.01)
    assert 2 * total < 0.9 * PACKAGE_LIMIT  # float16, with room for tokenizer and model card
