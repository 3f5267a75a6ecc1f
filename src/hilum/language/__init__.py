"""Words and findings: write findings as sentences, read sentences back as findings."""

from hilum.language.label import label
from hilum.language.template import write

__all__ = ["label", "write"]
