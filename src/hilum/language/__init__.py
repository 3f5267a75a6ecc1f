"""Words and findings: read reports into findings, write findings as reports."""

from hilum.language.label import Reading, Said, assertion, label, read
from hilum.language.write import canonical_fracture, write

__all__ = ["Reading", "Said", "assertion", "canonical_fracture", "label", "read", "write"]
