"""Where the scope of a cue ends, and so what a sentence claims.

In English the scope of a negation runs over an enumeration to a new statement; in Chinese it
ends at the comma. What a cue does within its scope: :mod:`~hilum.language.cues`.
"""

from __future__ import annotations

from hilum.language.claims import Assessed, Mention
from hilum.language.cues import Walk
from hilum.language.words import Sentence
from hilum.report import Language

# Words for what is there: nobody denies an old fracture or a stable nodule.
_STANDING = ("stable", "old", "healing")
_BEFORE_ADJECTIVE = ("negate", "or", "and", "such_as", "uncertain", "uncertain_both")
_NORMAL = ("normal", "clear", "stable")


def assess(sentence: Sentence, language: Language, found: list[Mention]) -> Assessed:
    """The claims of a sentence whose mentions are ``found``."""
    reader = (_Chinese if language == "zh" else _English)(found)
    for at, mention in enumerate(found):
        reader.take(at, mention)
    reader.finish()
    if sentence.stop == "?":
        reader.hedge_behind((sentence.end - 1, sentence.end))
    return Assessed(found, reader.claims, reader.denied)


class _English(Walk):
    def on_stop(self, at: int, mention: Mention) -> None:
        """Example: "hypoinflated but clear": the organs before a "but" are still spoken of."""
        waiting = self.organs if at + 1 < len(self.found) else []
        super().on_stop(at, mention)
        if waiting and self.found[at + 1].kind == "state":
            self.organs = waiting

    def on_comma(self, at: int, mention: Mention) -> None:
        if self.told:
            self.organs = []
        if self.verb or self.hedged:
            self.behind = len(self.claims)
        self.described = []
        ahead = self._ahead(at)
        shut = at > 0 and self.found[at - 1].kind == "seen"
        if not self._goes_on(at, ahead, shut):
            self.negation = self.doubt = None
            self.listing = False
        self.segment += 1
        self.verb = self.hedged = self.told = self.choice = self.settled = False
        self.disease = None

    def on_and(self, at: int, mention: Mention) -> None:
        """Example: "no effusion and the heart is normal": a statement of its own."""
        ahead = [m.kind for m in self._ahead(at)]
        following = self.found[at + 1 : at + 3]
        standing = bool(following) and following[0].value in _STANDING
        normal = [m.kind for m in following] == ["state", "organ"]
        if normal and following[0].value in _NORMAL:
            standing = True  # "no effusion and normal heart size"
        if following and following[0].kind == "verb":
            standing = True  # "no effusion and shows a nodule"
        if standing or ("organ" in ahead and "state" in ahead[ahead.index("organ") :]):
            self.negation = self.doubt = None

    def on_with(self, at: int, mention: Mention) -> None:
        """Example: "no cardiomegaly with small effusions"."""
        last = self.claims[-1] if self.claims else None
        if self.negation and last and last.start > self.negation.start and not self.silent:
            self.negation = None

    def _goes_on(self, at: int, ahead: list[Mention], shut: bool) -> bool:
        """Whether the segment after a comma is a further item of the enumeration before it.

        ``shut``: it was closed by "seen", as in "no effusion is seen, ...".
        """
        if not ahead:
            return self.negation is not None or self.listing or self._listed_later(at)
        first, kinds = ahead[0], {m.kind for m in ahead}
        if first.kind in ("or", "choice", "versus"):
            return True
        if ({"organ", "state"} <= kinds and not self._abnormal(ahead)) or "stop" in kinds or shut:
            return False
        if self.negation is None:
            return "verb" not in kinds and (self.listing or self._listed_later(at))
        if "or" in kinds and "verb" not in [m.kind for m in ahead[:-1]]:
            return True  # "no A, B or C is present": only a verb behind the last belongs to all
        if first.kind == "new" or first.value in _STANDING:
            return self._listed_later(at)
        return not kinds & {"verb", "uncertain"}

    @staticmethod
    def _abnormal(ahead: list[Mention]) -> bool:
        """Example: ", or abnormalities in the heart": an item, not a statement."""
        states = [m.value for m in ahead if m.kind == "state"]
        return set(states) == {"abnormal"} and all(m.kind != "verb" for m in ahead)

    def _listed_later(self, at: int) -> bool:
        """Whether a later item of the enumeration begins with "or"."""
        after_comma = False
        for mention in self.found[at + 1 :]:
            if mention.kind in ("stop", "negate"):
                return False
            if after_comma and mention.kind == "or":
                return True
            after_comma = mention.kind == "comma"
        return False


class _Chinese(Walk):
    def on_comma(self, at: int, mention: Mention) -> None:
        if mention.value == ":" and at and self.found[at - 1] is self.doubt:
            return  # 考虑：右下肺炎
        kinds = {m.kind for m in self._ahead(at)}
        goes_on = {"finding", "or"} <= kinds and not kinds & {"verb", "stop", "negate", "organ"}
        if not goes_on:
            self.negation = self.doubt = None
        elif self.negation is not None:
            self.negated_segment = self.segment + 1
        self.silent = False
        told = kinds & {"organ", "finding"} or any(c.segment == self.segment for c in self.claims)
        waiting = [] if told or "state" not in kinds else self.organs  # 心影横位，大小正常
        self.behind = len(self.claims)
        self.organs, self.state, self.described = waiting, None, []
        self.segment += 1
        self.verb = self.told = self.choice = False
        self.disease = None

    def on_stop(self, at: int, mention: Mention) -> None:
        """Example: "无可见气胸", "积液或可见的气胸": an adjective, no verb."""
        if at == 0 or self.found[at - 1].kind not in _BEFORE_ADJECTIVE:
            self.negation = self.doubt = None

    def on_negate(self, at: int, mention: Mention) -> None:
        """Example: "气胸、积液都没有": at the end of a segment it denies what was before it."""
        last = not any(m.kind not in ("seen", "verb") for m in self._ahead(at))
        if self._reach() and last and mention.value != "forward":
            self.on_negate_after(at, mention)
        else:
            super().on_negate(at, mention)

    def on_undisplaced(self, at: int, mention: Mention) -> None:
        """Example: "没有移位的骨折" denies the fracture; after it, it tells of the fragments."""
        if self._finding_ahead(at):
            self.on_negate(at, mention)

    def on_caveat(self, at: int, mention: Mention) -> None:
        super().on_caveat(at, mention)
        self.silent = True

    def on_with(self, at: int, mention: Mention) -> None:
        """Example: "肺不张伴积液可能": the hedge that follows is about what comes after 伴."""
        self.behind = len(self.claims)
