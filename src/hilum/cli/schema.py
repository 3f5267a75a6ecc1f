"""``hilum schema``: the JSON Schema of what ``hilum read --json`` prints."""

from __future__ import annotations

import json
from typing import Any


def report_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one line: the report of a study, or a failure."""
    from pydantic import TypeAdapter

    from hilum.report import Failure, Report

    line: TypeAdapter[Report | Failure] = TypeAdapter(Report | Failure)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of hilum read --json",
        **line.json_schema(mode="serialization"),
    }


def schema() -> None:
    """Print the JSON Schema of the lines that `hilum read --json` prints."""
    print(json.dumps(report_schema(), indent=2, sort_keys=True))
