"""The embedded reader's architecture: a film encoder of our own and an MBart decoder.

Importing this registers the encoder with transformers' Auto classes, so that
``VisionEncoderDecoderModel.from_pretrained(folder)`` opens the weights with no remote code.
"""

from pathlib import Path

from transformers import AutoConfig, AutoModel

from hilum.models.embedded.configuration import FilmEncoderConfig
from hilum.models.embedded.encoder import FilmEncoder, FilmEncoderOutput

AutoConfig.register(FilmEncoderConfig.model_type, FilmEncoderConfig, exist_ok=True)
AutoModel.register(FilmEncoderConfig, FilmEncoder, exist_ok=True)

WEIGHTS = Path(__file__).parent / "weights"

__all__ = ["WEIGHTS", "FilmEncoder", "FilmEncoderConfig", "FilmEncoderOutput"]
