"""Opens a model's folder with transformers' classes: whole, safetensors, no remote code."""

from __future__ import annotations

import hashlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.models.libraries import need_torch
from hilum.models.processing import OUR_CODE, quiet
from hilum.models.safety import read_json, refuse_remote_code, weight_files

COMPRESSED = "compressed-tensors"


def load_model(folder: Path, dtype: Any = "auto", trust_remote_code: bool = False) -> Any:
    """The folder's model, ready to answer. ``dtype``: a torch type, or "auto" for the file's.

    bitsandbytes' weights of 8 or 4 bits have the file's, on the device where they will run; those
    of compressed-tensors (GPTQ, AWQ) are unpacked into ``dtype``, since only servers such as vLLM
    compute with four bits.
    Raises ``model_invalid`` where weights and configuration do not fit, ``model_incomplete``,
    ``pickle_refused``, ``remote_code_refused``, ``extra_missing``.
    """
    need_torch()
    from transformers import AutoModelForImageTextToText

    import hilum.models.embedded
    import hilum.models.maira2
    import hilum.models.tower  # noqa: F401

    weight_files(folder)
    if read_json(folder / "config.json").get("model_type") not in OUR_CODE:
        refuse_remote_code(folder, trust_remote_code)
    quiet()
    given: dict[str, Any] = {}
    packed = quantised(folder)
    if packed == COMPRESSED:
        _need("compressed_tensors")
        from transformers import CompressedTensorsConfig

        given["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    elif packed:
        need_bitsandbytes()
        import torch

        dtype = "auto"
        given["device_map"] = {"": 0} if torch.cuda.is_available() else None
    try:
        with _unpacking(packed):
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                dtype=dtype,
                output_loading_info=True,
                **given,
            )
    except Exception as error:  # whatever the libraries make of files that anyone may write
        wrong = f"{type(error).__name__}; a phi3_dino folder is for hilum models convert"
        raise HilumError(Code.MODEL_INVALID, folder, wrong) from error
    model, problems = opened
    if unfit := [
        f"{kind}: {sorted(map(str, names))[0]}" for kind, names in problems.items() if names
    ]:
        raise HilumError(Code.MODEL_INVALID, folder, "; ".join(unfit))
    if packed not in ("", COMPRESSED):
        _let_odd_widths_run(model)
    return model.eval()


@contextmanager
def _unpacking(packed: str) -> Iterator[None]:
    """Let transformers (5.23) unpack compressed-tensors beside weights that it splits as it loads.

    It asks every conversion for the packed tensors, and can split no more than one (Dinov2's gated
    layers). What is split is in the tower, which is not packed. Its warning that the request to
    unpack is added to the folder's settings says nothing to whoever reads films.
    """
    if packed != COMPRESSED:
        yield
        return
    from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

    updated = CompressedTensorsHfQuantizer.update_weight_conversions

    def update(self: Any, conversions: list[Any], model: Any) -> list[Any]:
        splits = [c for c in conversions if len(c.target_patterns) > 1]
        rest = [c for c in conversions if len(c.target_patterns) == 1]
        return [*splits, *updated(self, rest, model)]

    CompressedTensorsHfQuantizer.update_weight_conversions = update  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You passed `quantization_config`")
            yield
    finally:
        CompressedTensorsHfQuantizer.update_weight_conversions = updated  # type: ignore[method-assign]


def _let_odd_widths_run(model: Any) -> None:
    """On a processor bitsandbytes packs 4-bit weights by blocks, and fails where one is cut."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            blocks = module.weight.quant_state.blocksize
            module.support_avx512bf16_for_cpu = module.in_features % blocks == 0


def quantised(folder: Path) -> str:
    """How a folder's weights have fewer bits: 8bit, nf4, compressed-tensors, or nothing."""
    how = read_json(folder / "config.json").get("quantization_config") or {}
    if how.get("quant_method") == COMPRESSED:
        return COMPRESSED
    if how.get("quant_method") != "bitsandbytes":
        return ""
    return "8bit" if how.get("load_in_8bit") else str(how.get("bnb_4bit_quant_type", "4bit"))


def need_bitsandbytes() -> None:
    """Raises ``extra_missing`` where it is not installed; it says nothing more than errors."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    _need("bitsandbytes")


def _need(package: str) -> None:
    """Raises ``extra_missing`` where a package of the extra bits is not installed."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        hint = "install it with: pip install 'hilum[bits]'"
        raise HilumError(Code.EXTRA_MISSING, package, hint) from error


def weights_sha256(folder: Path) -> str:
    """One hash of all weights: of the file, or of the files' hashes in order where several."""
    hashes = []
    for path in weight_files(folder):
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
