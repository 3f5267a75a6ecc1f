"""The one schema of a dataset: a row a study, as Arrow types and as Hugging Face features.

``xyxy`` of a box is in pixels of the *original* film, whose size stands in ``views``; a film
in ``images`` may be smaller, in the same proportions. ``span`` counts characters of findings and
impression joined by a line break.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

SPLITS = ("train", "validation", "test")

_INSTANCE = {
    "bone": "string",
    "side": "string",
    "ribs": ["int32"],
    "region": "string",
    "displacement": "string",
    "stage": "string",
    "box": {"view": "int32", "xyxy": ["float64"]},
    "probability": "float64",
    "span": ["int32"],
}
# A name is a column type, a list holds the type of its members, a dict is a struct.
COLUMNS: dict[str, Any] = {
    "study_id": "string",
    "patient_id": "string",
    "images": ["image"],
    "views": [
        {
            "position": "string",
            "rows": "int32",
            "columns": "int32",
            "mm_per_pixel": "float64",
            "simulated": "bool",
            "sha256": "string",
        }
    ],
    "context": {"age": "int32", "sex": "string", "indication": "string", "priors": ["string"]},
    "report": {"findings": "string", "impression": "string", "language": "string"},
    "findings": [
        {
            "name": "string",
            "status": "string",
            "probability": "float64",
            "instances": [_INSTANCE],
        }
    ],
    "findings_source": "string",
    "source": "string",
    "licence": "string",
    "split": "string",
    "flags": ["string"],
}
_ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}


def _arrow(spec: Any) -> pa.DataType:
    if isinstance(spec, list):
        return pa.list_(_arrow(spec[0]))
    if isinstance(spec, dict):
        return pa.struct([(name, _arrow(inner)) for name, inner in spec.items()])
    return _ARROW[spec]


def _feature(spec: Any) -> Any:
    if isinstance(spec, list):
        return {"feature": _feature(spec[0]), "_type": "List"}
    if isinstance(spec, dict):
        return {name: _feature(inner) for name, inner in spec.items()}
    return {"_type": "Image"} if spec == "image" else {"dtype": spec, "_type": "Value"}


def schema() -> pa.Schema:
    """The Arrow schema; its metadata tells ``datasets`` that ``images`` are to be decoded."""
    fields = [(name, _arrow(spec)) for name, spec in COLUMNS.items()]
    return pa.schema(
        fields, metadata={"huggingface": json.dumps({"info": {"features": _feature(COLUMNS)}})}
    )


SCHEMA = schema()
