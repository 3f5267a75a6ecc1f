"""transformers on this machine: the embedded reader, and any vision-language model."""

from hilum.engines.local.embedded import LocalEngine

__all__ = ["LocalEngine"]
