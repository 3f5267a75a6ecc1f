"""Opens a folder of the embedded architecture: nothing is fetched, executed or made up."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError

WEIGHTS = "model.safetensors"


def open_folder(folder: Path) -> tuple[Any, Any, str]:
    """The tokenizer, the model in float32, and the sha256 of the weights.

    Raises ``reader_invalid`` for whatever is not whole: a missing file, weights that do not fit
    their configuration, another architecture.
    """
    if not folder.is_dir():  # transformers would look for it on a hub
        raise HilumError(Code.READER_INVALID, folder, "not a folder")
    try:
        tokenizer, model, problems = _load(folder)
        with (folder / WEIGHTS).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(Code.READER_INVALID, folder, type(error).__name__) from error
    wrong = "another architecture" if model is None else _mismatch(tokenizer, model, problems)
    if wrong:
        raise HilumError(Code.READER_INVALID, folder, wrong)
    return tokenizer, model, sha256


def _load(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Tokenizer, model and what transformers has to say of it; no model of another architecture."""
    import torch
    from transformers import (
        PreTrainedTokenizerFast,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
    )
    from transformers.utils import logging

    import hilum.models.embedded  # noqa: F401 - registers the encoder

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # what it would warn of is refused instead
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if settings["model_type"] != VisionEncoderDecoderConfig.model_type:
            return None, None, {}
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        loaded: Any = VisionEncoderDecoderModel.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(before)
    return tokenizer, *loaded


def _mismatch(tokenizer: Any, model: Any, problems: dict[str, Any]) -> str:
    """What does not fit together; empty where everything does."""
    from hilum.models.embedded import FilmEncoderConfig

    encoder, decoder = model.config.encoder, model.config.decoder
    if not isinstance(encoder, FilmEncoderConfig):
        return "another architecture"
    if any(problems.values()):
        return "the weights do not fit the configuration"
    boxes = tokenizer.convert_tokens_to_ids(box_tokens(sum(encoder.classes.values())))
    needed = [*boxes, tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    if len(set(needed) - {None, tokenizer.unk_token_id}) < len(needed):
        return "the tokenizer lacks special tokens"
    if len(tokenizer) > decoder.vocab_size:
        return "the tokenizer has more tokens than the decoder"
    return ""


def box_tokens(slots: int) -> list[str]:
    """The tokens that stand for the encoder's proposals."""
    return [f"<box{k}>" for k in range(slots)]
