"""Fixtures of the local engines' tests."""

from tests.families import family

__all__ = ["family"]
