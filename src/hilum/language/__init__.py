"""Words and findings: read reports into findings, write findings as reports."""

from hilum.language.label import Reading, Said, assertion, label, read
from hilum.language.template import write

__all__ = ["Reading", "Said", "assertion", "label", "read", "write"]
