"""JPEG Extended and Lossless for pydicom, by libjpeg-turbo 3 as imagecodecs (BSD-3) packs it.

pydicom takes a module like this one as a plugin: ``is_available``, ``DECODER_DEPENDENCIES`` and
a function that turns a frame's codestream into its bytes.
"""

from __future__ import annotations

from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

PLUGIN = "imagecodecs"
DECODER_DEPENDENCIES = dict.fromkeys(
    (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), ("imagecodecs>=2025.3",)
)


def register() -> None:
    """Give pydicom's decoders this plugin, once."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def is_available(syntax: str) -> bool:
    """Whether this module decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(codestream: bytes, runner: DecodeRunner) -> bytes:
    """One frame's samples, colour by pixel, as 8- or 16-bit words of this machine's order."""
    from imagecodecs import jpeg8_decode

    levels = jpeg8_decode(codestream)
    runner.set_option("bits_allocated", 8 * levels.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    if levels.ndim == 3:  # libjpeg has turned YCbCr into RGB
        runner.set_option("photometric_interpretation", "RGB")
    return levels.tobytes()
