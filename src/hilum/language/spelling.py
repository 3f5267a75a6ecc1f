"""English words one slip of the keys away from a word of the lexicon.

Symmetric deletion (Garbe, 2012): two words are one edit apart only if they agree once a letter
of one, or of both, is left out; looking up the deletions of a word finds its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache

from hilum.language import lexicon

# Shorter words have neighbours that are words themselves.
SHORTEST = 8
_LONGEST = 24
_VOWELS = frozenset("aeiou")


@lru_cache(maxsize=20_000)
def corrected(word: str) -> str:
    """The lexicon's word that ``word`` is a slip of, or ``word`` itself.

    A slip: one letter too many or too few, a wrong vowel, or two neighbours changed over, and
    neither at the first letter nor at the ending. A wrong consonant is none: injection is no
    infection, displayed not displaced. Words of the lexicon, short ones, and those with two
    equally near neighbours stay as they are.
    """
    if not SHORTEST <= len(word) <= _LONGEST or not word.isalpha() or word in _words():
        return word
    near = {w for key in _deletions(word) for w in _neighbours().get(key, ())}
    fit = [w for w in near if w[0] == word[0] and w[-2:] == word[-2:] and _one_slip(word, w)]
    return fit[0] if len(fit) == 1 else word


def _one_slip(a: str, b: str) -> bool:
    at = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is None:
        return False
    if len(a) == len(b):
        swapped = a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]
        return swapped or ({a[at], b[at]} <= _VOWELS and a[at + 1 :] == b[at + 1 :])
    short, long = sorted((a, b), key=len)
    return long[at + 1 :] == short[at:]


@cache
def _words() -> frozenset[str]:
    words: set[str] = set()
    nodes = [lexicon.trie("en")]
    while nodes:
        node = nodes.pop()
        words |= {w for w in node if w}
        nodes += [n for w, n in node.items() if w]
    return frozenset(words)


@cache
def _neighbours() -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for word in _words():
        if len(word) >= SHORTEST and word.isalpha() and word.isascii():
            for key in _deletions(word):
                found.setdefault(key, set()).add(word)
    return {key: tuple(words) for key, words in found.items()}


def _deletions(word: str) -> Iterator[str]:
    yield word
    for k in range(1, len(word)):
        yield word[:k] + word[k + 1 :]
