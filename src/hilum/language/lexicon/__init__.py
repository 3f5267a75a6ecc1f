"""The lexicon: what words mean, one term a line in the text files of this folder.

A file holds groups. ``[kind value]`` opens a group; every line after it is a term of that group;
``#`` opens a comment. ``(a|b|)`` in a term stands for a, b or nothing. Words are compared without
case, hyphens, redactions (XXXX) and white space; the longest term at a place wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from hilum.language.words import words

Tag = tuple[str, str]
# token -> next node; "" -> the tags of the term that ends here
Trie = dict[str, Any]

_CHOICE = re.compile(r"\(([^()]*)\)")


@cache
def trie(language: str) -> Trie:
    """Every term of a language as a tree of tokens."""
    root: Trie = {}
    for tag, term in terms(language):
        node = root
        for token in words(term):
            node = node.setdefault(token, {})
        node.setdefault("", tag)
    return root


def terms(language: str) -> Iterator[tuple[Tag, str]]:
    """Every tag with every spelling of its terms, in the files' order; the first tag wins."""
    folder = resources.files(__name__).joinpath(language)
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".txt"):
            yield from _parse(file.read_text(encoding="utf-8"))


def _parse(text: str) -> Iterator[tuple[Tag, str]]:
    tag = ("", "")
    for row in text.splitlines():
        line = row.partition("#")[0].strip()
        if line.startswith("["):
            kind, _, value = line.strip("[]").partition(" ")
            tag = (kind, value.strip())
        elif line:
            for term in spellings(line):
                yield tag, term


def spellings(term: str) -> list[str]:
    """A term with every choice made: ``air( |)space`` is "air space" and "airspace".

    Choices may hold choices; the innermost are made first.
    """
    made = {term: None}
    while any("(" in t for t in made):
        made = {t: None for old in made for t in _choose(old)}
    return list(made)


def _choose(term: str) -> list[str]:
    inner = _CHOICE.search(term)
    if inner is None:
        return [term]
    before, after = term[: inner.start()], term[inner.end() :]
    return [f"{before}{chosen}{after}" for chosen in inner[1].split("|")]
