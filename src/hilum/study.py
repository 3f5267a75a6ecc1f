"""Study and View: what is read.

A :class:`View` holds the grey levels after the Modality LUT at full bit depth, and the VOI
transform that shows them; it knows nothing of DICOM, files or models.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from hilum.codes import Code, HilumError
from hilum.findings import Record


class VoiFunction(StrEnum):
    """VOI LUT Function (DICOM PS3.3 C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


class Window(Record):
    """A VOI window: centre and width in units after the Modality LUT."""

    center: float
    width: Annotated[float, Field(gt=0)]
    function: VoiFunction = VoiFunction.LINEAR
    explanation: str = ""

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values mapped to 0..1 by PS3.3 C.11.2.1.2 and C.11.2.1.3."""
        if self.function is VoiFunction.SIGMOID:
            scaled = np.clip(-4 * (values - self.center) / self.width, -80, 80)
            return (1 / (1 + np.exp(scaled))).astype(np.float32)
        if self.function is VoiFunction.LINEAR_EXACT:
            ramp = (values - self.center) / self.width + 0.5
        elif self.width <= 1:
            return (values > self.center - 0.5).astype(np.float32)
        else:
            ramp = (values - (self.center - 0.5)) / (self.width - 1) + 0.5
        return np.clip(ramp, 0, 1).astype(np.float32)


class VoiLut(Record):
    """A VOI LUT (PS3.3 C.11.2.1.1): ``table[i]`` shows the value ``first + i``.

    Values below ``first`` take the first entry, values past the end the last one. Entries past
    ``bits`` are shown white; a table without entries is refused.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    table: NDArray[Any]
    first: int
    bits: Annotated[int, Field(ge=1, le=16)]
    explanation: str = ""

    @field_validator("table")
    @classmethod
    def _has_entries(cls, table: NDArray[Any]) -> NDArray[Any]:
        if table.ndim != 1 or not table.size:
            raise ValueError(f"a LUT is a row of entries, not an array of shape {table.shape}")
        return table

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values mapped to 0..1."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.table) - 1).astype(np.intp)
        shown: NDArray[np.float32] = self.table.astype(np.float32)[index]
        return np.clip(shown / np.float32(2**self.bits - 1), 0, 1)


class StepName(StrEnum):
    """One kind of thing that is done to grey levels between the file and the screen."""

    DICOM_DECODED = "dicom_decoded"
    RASTER_DECODED = "raster_decoded"
    BITS_CLEARED = "bits_cleared"
    FIRST_OF_SEVERAL = "first_of_several"
    TURNED = "turned"
    LAID_ON_BLACK = "laid_on_black"
    COLOUR_TO_GREY = "colour_to_grey"
    MODALITY_NONE = "modality_none"
    MODALITY_RESCALE = "modality_rescale"
    MODALITY_LUT = "modality_lut"
    MODALITY_LEFT_OUT = "modality_left_out"
    VOI_LUT = "voi_lut"
    VOI_WINDOW = "voi_window"
    VOI_LEFT_OUT = "voi_left_out"
    PADDING_LEFT_OUT = "padding_left_out"
    SHOWN_AS_STORED = "shown_as_stored"
    SMALLEST_TO_LARGEST = "smallest_to_largest"
    INVERTED = "inverted"
    NOT_INVERTED = "not_inverted"
    EIGHT_BITS = "eight_bits"


class Step(Record):
    """One thing that was done to a film's grey levels, noted when it was done.

    ``values`` are numbers and names of standards, never text of a header.
    """

    name: StepName
    values: dict[str, int | float | str] = Field(default_factory=dict)

    @classmethod
    def of(cls, name: StepName, **values: int | float | str) -> Step:
        """A step with its values."""
        return cls(name=name, values=values)


class Context(Record):
    """What the caller says of the patient: typed fields, never free text from a header."""

    age: Annotated[int, Field(ge=0, le=130)] | None = None
    sex: str | None = Field(default=None, pattern="^(F|M|O)$")
    indication: str | None = None
    priors: list[str] = Field(default_factory=list)


class View(Record):
    """One image of a study; what of it is printed is :class:`~hilum.report.ViewRecord`.

    ``pixels`` is 2-D (rows, columns), finite, float32 or uint16, after the Modality LUT. ``voi``
    holds the transforms to choose from, best first. ``inverted`` is True where low values are
    shown bright. ``simulated`` is True where the file says that a phantom made it. ``steps``
    says what :meth:`display` without a window shows, from the file on.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    pixels: Annotated[NDArray[Any], Field(repr=False)]
    path: str = ""
    position: str | None = None
    mm_per_pixel: Annotated[float, Field(gt=0)] | None = None
    voi: list[Window | VoiLut] = Field(default_factory=list, repr=False)
    inverted: bool = False
    simulated: bool = False
    header: dict[str, str] = Field(default_factory=dict, repr=False)
    warnings: list[Code] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list, repr=False)

    @field_validator("pixels")
    @classmethod
    def _is_film(cls, pixels: NDArray[Any]) -> NDArray[Any]:
        if pixels.ndim != 2 or not pixels.size or pixels.dtype not in (np.uint16, np.float32):
            raise ValueError(
                f"pixels must be 2-D uint16 or float32, not {pixels.dtype} {pixels.shape}"
            )
        # minimum and maximum are NaN where any value is
        if pixels.dtype == np.float32 and not np.isfinite([pixels.min(), pixels.max()]).all():
            raise ValueError("pixels must be finite numbers")
        return pixels

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def display(self, window: Window | VoiLut | int | str | None = None) -> NDArray[np.uint8]:
        """The film as it is looked at: VOI, exactly one inversion, then 0..255 (black..white).

        ``window`` is a transform, or one of ``voi`` by its index or its explanation (whatever the
        case); without it the first of ``voi`` is used; without any, the range from the smallest
        to the largest value. A film of one grey level then comes out black. Raises
        ``HilumError`` ``option_invalid`` where ``voi`` has no such transform.
        """
        transform = self._transform(window)
        if self.pixels.dtype == np.uint16:  # few levels: each is worked out once
            table = self._shown(np.arange(int(self.pixels.max()) + 1, dtype=np.float32), transform)
            return table[self.pixels]
        return self._shown(self.pixels, transform)

    def _shown(
        self, values: NDArray[np.float32], transform: Window | VoiLut | None
    ) -> NDArray[np.uint8]:
        if transform is not None:
            shown = transform.apply(values)
        else:
            low, high = np.float32(self.pixels.min()), np.float32(self.pixels.max())
            if high <= low:
                return np.zeros(values.shape, np.uint8)
            shown = np.maximum(values - low, 0) / np.float32(high - low)
        if self.inverted:
            shown = 1 - shown
        return np.rint(shown * 255).astype(np.uint8)

    def _transform(self, window: Window | VoiLut | int | str | None) -> Window | VoiLut | None:
        if isinstance(window, Window | VoiLut):
            return window
        if window is None:
            return self.voi[0] if self.voi else None
        for index, found in enumerate(self.voi):
            if index == window or found.explanation.casefold() == str(window).casefold():
                return found
        detail = f"window: none of the {len(self.voi)} of the film has this index or explanation"
        raise HilumError(Code.OPTION_INVALID, self.path, detail)


class Study(Record):
    """One examination: its views in the order they were given, and the typed context."""

    id: str
    views: Annotated[list[View], Field(min_length=1)]
    context: Context = Field(default_factory=Context)
