"""The decoder in training sees no word before its turn; else it learns to copy, not to read."""

from __future__ import annotations

import pytest
import torch

from hilum.models.embedded import FilmEncoder, FilmEncoderConfig
from hilum.phantom.film import simulate
from hilum.training.embedded.shards import entry
from hilum.training.embedded.words import SLOTS, make_tokenizer, new_model


@pytest.mark.parametrize("training", [True, False])
def test_a_later_token_changes_nothing_before_it(training: bool) -> None:
    torch.manual_seed(0)
    tokenizer = make_tokenizer([entry(simulate(0, i, 64)) for i in range(3)])
    encoder = FilmEncoder(FilmEncoderConfig(image_size=64))
    decoder = new_model(encoder, tokenizer).decoder.train(training)
    memory = torch.randn(1, SLOTS, encoder.config.hidden_size)
    ids = torch.randint(40, 300, (1, 20))
    other = ids.clone()
    other[0, 12] += 1
    with torch.no_grad():
        a, b = (
            decoder(input_ids=i, encoder_hidden_states=memory, use_cache=False).logits[0]
            for i in (ids, other)
        )
    changed = (a - b).abs().amax(1)
    assert changed[:12].max() < 1e-4
    assert changed[12] > 1e-2
