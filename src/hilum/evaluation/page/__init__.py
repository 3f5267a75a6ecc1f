"""One HTML file for people: both languages inside, nothing from a network."""

from hilum.evaluation.page.page import page

__all__ = ["page"]
