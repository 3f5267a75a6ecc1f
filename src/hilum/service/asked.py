"""What OpenAI's clients send, as far as it is understood here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hilum.service.shapes import Shape, StudyId

ALIAS = "hilum"
"""The reader that is served, whatever its name."""

_EXAMPLE: dict[str, Any] = {
    "model": ALIAS,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "这张胸片有骨折吗？"},
                {"type": "image_url", "image_url": {"url": "data:application/dicom;base64,..."}},
            ],
        }
    ],
}


class Address(BaseModel):
    """Where an image is: a data URL; other addresses only where their host is allowed."""

    model_config = ConfigDict(extra="ignore")

    url: str


class FileData(BaseModel):
    """A film as a data URL; its name is not looked at."""

    model_config = ConfigDict(extra="ignore")

    file_data: str


class TextPart(Shape):
    """Words."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=20_000)]


class ImagePart(Shape):
    """A film: PNG, JPEG, TIFF or DICOM."""

    type: Literal["image_url"]
    image_url: Address


class FilePart(Shape):
    """A film as a file."""

    type: Literal["file"]
    file: FileData


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class Said(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)] | Annotated[list[Part], Field(max_length=32)]

    @property
    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def films(self) -> list[str]:
        """The addresses of its films."""
        if isinstance(self.content, str):
            return []
        return [
            part.image_url.url if isinstance(part, ImagePart) else part.file.file_data
            for part in self.content
            if not isinstance(part, TextPart)
        ]


class StreamOptions(Shape):
    """What a stream tells beside the words."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Asked(Shape):
    """A request. What would change the answer and is not done is refused, never ignored.

    Temperature, top_p and seed draw a chat model's words; without a temperature they are the
    likeliest. Rules draw nothing. Penalties are taken and change nothing.
    ``study_id`` asks about a study that is kept here, without sending it again.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    model: Annotated[str, Field(max_length=200)]
    messages: Annotated[list[Said], Field(min_length=1, max_length=200)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    n: Literal[1] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    study_id: StudyId | None = None

    def sampling(self, most: int) -> dict[str, Any]:
        """How the words are to be drawn, as :class:`hilum.engines.Sampling` takes it."""
        return {
            "max_new_tokens": most,
            "temperature": self.temperature or 0.0,
            "top_p": self.top_p or 1.0,
            "seed": None if self.seed is None else self.seed % 2**32,
        }
