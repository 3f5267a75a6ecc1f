"""Fixtures of the engines' tests."""

from tests.server import server

__all__ = ["server"]
