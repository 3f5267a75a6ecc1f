"""Words and findings: read reports into findings, write findings as reports."""

from hilum.language.audit import audit
from hilum.language.label import Reading, Said, assertion, label, read
from hilum.language.verdict import Audit
from hilum.language.write import canonical_fracture, write

__all__ = [
    "Audit",
    "Reading",
    "Said",
    "assertion",
    "audit",
    "canonical_fracture",
    "label",
    "read",
    "write",
]
