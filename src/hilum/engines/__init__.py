"""Engines: run weights. They know images and words, never DICOM, studies or reports."""

from hilum.engines.base import By, Draft, Engine, Image, Located, Question, Request, Sampling

__all__ = ["By", "Draft", "Engine", "Image", "Located", "Question", "Request", "Sampling"]
