"""What was done to a film's grey levels, in plain words: ``hilum read --explain-pixels``.

The steps are noted while a film is loaded (:class:`hilum.study.Step`); here they only get words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from hilum.imaging.header import integer, uid, value
from hilum.study import Step, StepName, View, VoiLut, Window

SENTENCES: dict[StepName, tuple[str, str]] = {
    StepName.DICOM_DECODED: (
        "stored values decoded from {syntax}: {rows} x {columns} pixels, {bits} bits, {sign}",
        "按 {syntax} 解码存储值：{rows} × {columns} 像素，{bits} 位，{sign}",
    ),
    StepName.RASTER_DECODED: (
        "levels decoded from {format}, Pillow mode {mode}",
        "由 {format} 解码灰度（Pillow 模式 {mode}）",
    ),
    StepName.BITS_CLEARED: (
        "bits outside BitsStored cleared (PS3.5 8.1.1)",
        "清除 BitsStored 以外的位（PS3.5 8.1.1）",
    ),
    StepName.FIRST_OF_SEVERAL: (
        "the first of {count} frames or pages is used",
        "共 {count} 帧（页），使用第一帧",
    ),
    StepName.TURNED: (
        "turned upright by the orientation in its EXIF block",
        "按 EXIF 方向信息转正",
    ),
    StepName.LAID_ON_BLACK: ("transparent parts laid on black", "透明部分以黑色填底"),
    StepName.COLOUR_TO_GREY: (
        "colour turned to brightness (ITU-R BT.601)",
        "彩色转为亮度（ITU-R BT.601）",
    ),
    StepName.MODALITY_NONE: (
        "Modality LUT: none, the stored values are used (PS3.3 C.11.1)",
        "Modality LUT：无，直接使用存储值（PS3.3 C.11.1）",
    ),
    StepName.MODALITY_RESCALE: (
        "Modality LUT: value = stored x {slope:.9g} + {intercept:.9g} (PS3.3 C.11.1)",
        "Modality LUT：值 = 存储值 × {slope:.9g} + {intercept:.9g}（PS3.3 C.11.1）",
    ),
    StepName.MODALITY_LUT: (
        "Modality LUT: a table of {entries} entries from stored value {first} (PS3.3 C.11.1)",
        "Modality LUT：{entries} 项查找表，首项对应存储值 {first}（PS3.3 C.11.1）",
    ),
    StepName.MODALITY_LEFT_OUT: (
        "Modality LUT: invalid and left out, the stored values are used",
        "Modality LUT：无效，未使用，直接使用存储值",
    ),
    StepName.VOI_LUT: (
        "VOI LUT: the first of {count}, {entries} entries from value {first} (PS3.3 C.11.2)",
        "VOI LUT：共 {count} 个，使用第一个，{entries} 项查找表，起始值 {first}（PS3.3 C.11.2）",
    ),
    StepName.VOI_WINDOW: (
        "window: {function}, centre {center:.9g}, width {width:.9g}, the first of {count} (C.11.2)",
        "窗：{function}，窗位 {center:.9g}，窗宽 {width:.9g}，共 {count} 个中的第一个（C.11.2）",
    ),
    StepName.VOI_LEFT_OUT: (
        "an invalid window or VOI LUT was left out",
        "有无效的窗或 VOI LUT，未使用",
    ),
    StepName.PADDING_LEFT_OUT: (
        "no window in the file: a window over all values but PixelPaddingValue (C.7.5.1.1.2)",
        "文件中无窗：取除 PixelPaddingValue 外全部值的范围作为窗（C.7.5.1.1.2）",
    ),
    StepName.SHOWN_AS_STORED: (
        "no window: 8-bit levels are shown as they are",
        "无窗：8 位灰度按原值显示",
    ),
    StepName.SMALLEST_TO_LARGEST: (
        "no window: shown from the smallest value {low:g} to the largest {high:g}",
        "无窗：按最小值 {low:g} 到最大值 {high:g} 显示",
    ),
    StepName.INVERTED: (
        "inverted once, low values are shown bright ({because})",
        "反转一次，低值显示为亮（{because}）",
    ),
    StepName.NOT_INVERTED: (
        "not inverted, high values are shown bright ({because})",
        "不反转，高值显示为亮（{because}）",
    ),
    StepName.EIGHT_BITS: (
        "rounded to 256 levels, 0 black to 255 white",
        "取整为 256 级灰度，0 黑，255 白",
    ),
}

_SIGN = {"signed": "有符号", "unsigned": "无符号", "floating point": "浮点"}


def words(step: Step, language: str) -> str:
    """The sentence of a step: "zh" for Chinese, anything else English."""
    values = dict(step.values)
    if language == "zh" and "sign" in values:
        values["sign"] = _SIGN.get(str(values["sign"]), values["sign"])
    return SENTENCES[step.name][language == "zh"].format(**values)


def lines(view: View, language: str) -> list[str]:
    """All that was done to a film on the way to ``view.display()``, in order."""
    return [words(step, language) for step in view.steps]


def decoded(ds: Dataset, stored: NDArray[Any]) -> list[Step]:
    """The step that gave ``stored``, and which frame it was."""
    kinds = {"f": "floating point", "i": "signed", "u": "unsigned"}
    step = Step.of(
        StepName.DICOM_DECODED,
        syntax=UID(uid(value(ds.file_meta, "TransferSyntaxUID"))).name,
        rows=stored.shape[0],
        columns=stored.shape[1],
        bits=integer(ds, "BitsStored") or 8 * stored.dtype.itemsize,
        sign=kinds.get(stored.dtype.kind, stored.dtype.kind),
    )
    frames = integer(ds, "NumberOfFrames") or 1
    return [step, *([Step.of(StepName.FIRST_OF_SEVERAL, count=frames)] if frames > 1 else [])]


def shown(pixels: NDArray[Any], transforms: Sequence[Window | VoiLut], *, ready: bool) -> Step:
    """How :meth:`View.display` will spread ``pixels``: the first transform, else as they are."""
    if not transforms:
        if ready:
            return Step.of(StepName.SHOWN_AS_STORED)
        low, high = float(np.min(pixels)), float(np.max(pixels))
        return Step.of(StepName.SMALLEST_TO_LARGEST, low=low, high=high)
    first, count = transforms[0], len(transforms)
    if isinstance(first, Window):
        return Step.of(
            StepName.VOI_WINDOW,
            count=count,
            center=first.center,
            width=first.width,
            function=first.function.value,
        )
    return Step.of(StepName.VOI_LUT, count=count, entries=len(first.table), first=first.first)
