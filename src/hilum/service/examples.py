"""Forms for OpenAPI that FastAPI cannot derive, as they are parsed while they arrive."""

from __future__ import annotations

from typing import Any

_FILE = {"type": "string", "format": "binary"}


def _form(properties: dict[str, Any], required: str, example: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


_LANGUAGE = {"type": "string", "enum": ["en", "zh"], "description": "Of the draft"}

UPLOAD = _form(
    {
        "files": {
            "type": "array",
            "items": _FILE,
            "minItems": 1,
            "maxItems": 64,
            "description": "DICOM, PNG, JPEG, TIFF or zip",
        },
        "context": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "JSON: age, sex (F, M, O), indication (trauma, chest_pain, cough,"
            " dyspnoea, fever, screening, preoperative, follow_up, device_position, other),"
            " priors (ids of studies)",
        },
        "priority": {"type": "string", "enum": ["routine", "urgent", "stat"]},
        "language": _LANGUAGE,
        "together": {
            "type": "string",
            "enum": ["true", "false"],
            "description": "All files are views of one study",
        },
    },
    "files",
    {"context": '{"age": 71, "sex": "F", "indication": "trauma"}', "priority": "urgent"},
)
ANALYZE = _form({"file": _FILE, "language": _LANGUAGE}, "file", {"language": "zh"})
