"""What each term of a sentence does, in either language: claims, and the cues that act on them.

After ConText (Harkema et al., J Biomed Inform 2009) and CheXpert's labeler (Irvin et al., AAAI
2019): a cue acts forward or backward until its scope ends. Where it ends, each language has its
own rules: :mod:`~hilum.language.scope`.
"""

from __future__ import annotations

from hilum.findings import FindingName, Status
from hilum.language.claims import Claim, Mention, names, rules

# A state under a negation; what is not here says nothing then.
_DENIED = {
    "enlarged": "normal",
    "widened": "normal",
    "abnormal": "normal",
    "blunted": "clear",
    "thickened": "thin",
    "broken": "whole",
}
# What may stand between "no abnormality" and "such as": places, and the comma.
_STEPPED_OVER = frozenset(
    ("organ", "bone", "joint", "side", "region", "zone", "and", "comma", "seen", "verb")
)


class Walk:
    """Goes over the mentions of one sentence and keeps what is in force."""

    def __init__(self, found: list[Mention]) -> None:
        self.found = found
        self.claims: list[Claim] = []
        self.denied: set[int] = set()
        self.negation: Mention | None = None
        self.negated_segment = -1
        self.doubt: Mention | None = None
        self.silent = False
        self.segment = 0
        self.removal = -1  # the segment in which devices are taken out
        self.behind = 0  # cues that follow act on the claims from here on
        self.verb = False  # in this segment
        self.hedged = False  # a hedge in this segment stands for its verb: "may represent"
        self.told = False  # a verb after the organs that wait for their state
        self.choice = False  # an "or" since the last claim
        self.organs: list[tuple[int, Mention]] = []
        self.state: tuple[str, Mention] | None = None  # an adjective that waits for its organ
        self.described: list[Claim] = []  # organs of this segment that such an adjective took
        self.described_last: list[tuple[int, Mention]] = []
        self.listing = False
        self.settled = False  # "no change in A or B": both are there
        self.denial: Mention | None = None  # the last "no abnormality"
        self.line: tuple[int, Mention] | None = None
        self.disease: tuple[int, Mention] | None = None  # named in this segment, not yet denied

    def take(self, at: int, mention: Mention) -> None:
        """Act on one mention."""
        handler = getattr(self, f"on_{mention.kind}", None)
        if handler is not None:
            handler(at, mention)
        elif self.negation is not None:
            self.denied.add(at)

    # what is claimed

    def on_finding(self, at: int, mention: Mention) -> None:
        """A finding, under whatever negation or doubt is in force."""
        if self._hardware(at, mention):
            return
        claim = Claim(names(mention.value), None, mention.start, mention.end, at)
        self._judge(claim)
        if self.choice and claim.status is Status.PRESENT and self.claims:
            for one in (claim, self.claims[-1]):
                if one.status is Status.PRESENT:
                    one.status = Status.UNCERTAIN
        self.choice = False
        self._add(claim)

    def on_denied(self, at: int, mention: Mention) -> None:
        """Example: "未见异常密度影", where "未见异常" alone would be a normal organ."""
        claim = Claim(names(mention.value), Status.ABSENT, mention.start, mention.end, at)
        claim.cue = (mention.start, mention.end)
        self.denied.add(at)
        self._add(claim)

    def _hardware(self, at: int, mention: Mention) -> bool:
        """Example: "catheter fracture", "the wire is fractured": no bone is broken."""
        last = self.claims[-1] if self.claims else None
        if mention.value != "fracture" or last is None:
            return False
        between = {m.kind for m in self.found[last.at + 1 : at]}
        touching = mention.start - last.end <= 1 or between == {"verb"}
        return FindingName.SUPPORT_DEVICES in last.names and touching

    def on_disease(self, at: int, mention: Mention) -> None:
        """Example: "acute disease": the chest is normal where that is denied."""
        if self.negation is not None:
            self.denial = self.negation
            self._deny_disease(at, mention, self.negation)
        else:
            self.disease = (at, mention)

    def _deny_disease(self, at: int, mention: Mention, cue: Mention) -> None:
        if not self.silent:
            claim = Claim((), Status.ABSENT, mention.start, mention.end, at, normal=True)
            claim.cue = (cue.start, cue.end)
            self._add(claim)

    def on_normal_chest(self, at: int, mention: Mention) -> None:
        """Example: "the chest is normal"."""
        if self.negation is None and not self.silent:
            self._add(Claim((), Status.PRESENT, mention.start, mention.end, at, normal=True))

    def _judge(self, claim: Claim) -> None:
        if self.removal == self.segment and FindingName.SUPPORT_DEVICES in claim.names:
            claim.status = Status.ABSENT
        elif self.negation is not None:
            claim.status = Status.ABSENT
            claim.cue = (self.negation.start, self.negation.end)
        elif self.doubt is not None:
            claim.status = Status.UNCERTAIN
            claim.cue = (self.doubt.start, self.doubt.end)
        else:
            claim.status = Status.PRESENT

    def _add(self, claim: Claim) -> None:
        claim.segment = self.segment
        if not self.silent:
            self.claims.append(claim)

    # organs and their states

    def on_organ(self, at: int, mention: Mention) -> None:
        """An organ takes the adjective before it, or waits for its state."""
        if self.state is not None:
            claim = self._organ_claim(at, mention, *self.state)
            if claim is not None:
                self.described.append(claim)
                self.verb = False
        else:
            self.organs.append((at, mention))

    def on_state(self, at: int, mention: Mention) -> None:
        """A state is said of the organs that wait for it, or waits for an organ."""
        state = mention.value
        if state == "normal" or self.negation is not None:
            self.denial = mention
        if self.negation is not None:
            self.denied.add(at)
            state = _DENIED.get(state, "")
        around = [m.kind for m in self.found[max(0, at - 1) : at + 2]]
        if self.organs and around != ["and", "state", "organ"]:
            self._describe(self.organs, state, mention)
        elif self.described and self.verb:
            for claim in self.described:
                rule = rules().get(("mediastinum" if claim.weak else "heart", state))
                if rule is None or rule[0] not in claim.names:
                    continue
                claim.status = rule[1]
            self.described = []
        elif self.described_last and at and self.found[at - 1].kind == "and":
            self._describe(self.described_last, state, mention)  # "stable and normal"
        else:
            self.state = (state, mention)

    def _describe(self, organs: list[tuple[int, Mention]], state: str, mention: Mention) -> None:
        for at, organ in organs:
            self._organ_claim(at, organ, state, mention)
        self.organs, self.described_last = [], organs

    def _organ_claim(self, at: int, organ: Mention, state: str, mention: Mention) -> Claim | None:
        """Add what the state means for the organ; a term may name several organs."""
        claim = None
        start, end = min(organ.start, mention.start), max(organ.end, mention.end)
        for one in organ.value.split():
            rule = rules().get((one, state))
            if rule is None:
                continue
            name, status = rule
            if status is Status.PRESENT and self.doubt is not None:
                status = Status.UNCERTAIN
            claim = Claim((name,), status, start, end, at, (mention.start, mention.end))
            claim.weak = state == "stable"
            self._add(claim)
        return claim

    # cues

    def on_negate(self, at: int, mention: Mention) -> None:
        """Deny what follows."""
        self.negation, self.negated_segment, self.doubt = mention, self.segment, None
        self.state = None

    def on_uncertain(self, at: int, mention: Mention) -> None:
        """Hedge what follows, unless a negation in the same segment rules it."""
        if self.negation is not None and self.negated_segment == self.segment:
            return
        self.negation, self.doubt = None, mention
        self.hedged = True

    def on_list(self, at: int, mention: Mention) -> None:
        """Example: "differential includes": a hedge over an enumeration."""
        self.on_uncertain(at, mention)
        self.listing = self.doubt is mention

    def on_such_as(self, at: int, mention: Mention) -> None:
        """Example: "no abnormality, such as": what was denied or hedged is so one by one."""
        before = at - 1
        while before >= 0 and self.found[before].kind in _STEPPED_OVER:
            before -= 1
        if before < 0:
            return
        general = self.found[before]
        if general.kind in ("uncertain", "list"):
            self.doubt, self.listing = general, True
        elif self.denial is not None and (general is self.denial or general.kind == "disease"):
            self.negation, self.negated_segment = self.denial, self.segment

    def on_affirm(self, at: int, mention: Mention) -> None:
        """Example: "no change in": no negation, and an "or" after it is no alternative."""
        self.settled = True

    def on_choice(self, at: int, mention: Mention) -> None:
        """Example: "and/or": hedges what is before and after it."""
        last = self.claims[-1] if self.claims else None
        near = last is not None and last.segment == self.segment and not last.normal
        if near and last is not None and last.status is Status.PRESENT:
            last.status, last.cue = Status.UNCERTAIN, (mention.start, mention.end)
        if self.negation is None:
            self.doubt = mention

    def on_uncertain_both(self, at: int, mention: Mention) -> None:
        """Hedges what it follows, or else what follows it."""
        last = self.claims[-1] if self.claims else None
        touching = (
            last is not None and last.segment == self.segment and mention.start - last.end <= 1
        )
        if (not touching or mention.value == "ahead") and self._finding_ahead(at):
            self.on_uncertain(at, mention)
        else:
            self.hedge_behind((mention.start, mention.end))

    def _finding_ahead(self, at: int) -> bool:
        for mention in self.found[at + 1 :]:
            if mention.kind == "comma":
                return False
            if mention.kind in ("finding", "state"):
                return True
        return False

    def on_uncertain_after(self, at: int, mention: Mention) -> None:
        """Hedge what came before."""
        self.hedge_behind((mention.start, mention.end))

    def hedge_behind(self, cue: tuple[int, int]) -> None:
        """Make uncertain what is in reach before the cue."""
        for claim in self._reach():
            if claim.status is Status.PRESENT and not claim.normal:
                claim.status, claim.cue = Status.UNCERTAIN, cue

    def on_negate_after(self, at: int, mention: Mention) -> None:
        """Deny what came before, or else what follows."""
        reach = [c for c in self._reach() if not c.normal]
        if mention.value == "device":
            reach = [c for c in reach if FindingName.SUPPORT_DEVICES in c.names]
        for claim in reach:
            claim.status, claim.cue = Status.ABSENT, (mention.start, mention.end)
            self.denied.add(claim.at)
        if not reach and self.disease is not None:
            self._deny_disease(*self.disease, mention)  # "active disease is not seen"
        elif not reach and mention.value == "device":
            self.on_removal(at, mention)
        elif not reach:
            Walk.on_negate(self, at, mention)

    def on_operated(self, at: int, mention: Mention) -> None:
        """Example: "疝修补术后": the finding before it is history; a fracture is not."""
        last = self.claims[-1] if self.claims else None
        if last is None or mention.start != last.end:
            return
        if not {FindingName.FRACTURE, FindingName.SUPPORT_DEVICES} & set(last.names):
            self.claims.pop()

    def on_removal(self, at: int, mention: Mention) -> None:
        """Example: "interval removal of": denies the devices that follow, and nothing else."""
        self.removal = self.segment

    def _reach(self) -> list[Claim]:
        return self.claims[self.behind :]

    def on_ignore(self, at: int, mention: Mention) -> None:
        """Nothing that follows is asserted: a recommendation, an indication."""
        self.silent = True

    def on_caveat(self, at: int, mention: Mention) -> None:
        """Nothing was asserted in this clause."""
        del self.claims[self.behind :]

    def on_stop(self, at: int, mention: Mention) -> None:
        """End every scope."""
        self.negation = self.doubt = self.state = None
        self.behind = len(self.claims)
        self.organs, self.described, self.choice = [], [], False

    def on_or(self, at: int, mention: Mention) -> None:
        """Between two findings that no negation rules: alternatives, so both are uncertain."""
        last = self.claims[-1] if self.claims else None
        touching = last is not None and not last.normal and mention.start - last.end <= 2
        self.choice = touching and self.negation is None and not self.settled

    def on_verb(self, at: int, mention: Mention) -> None:
        """The organs before a verb are told of behind it."""
        self.verb = True
        self.told = bool(self.organs)

    def on_comma(self, at: int, mention: Mention) -> None:
        """Begin a new segment; each language ends scopes by its own rules."""
        raise NotImplementedError

    def on_line(self, at: int, mention: Mention) -> None:
        """Example: "骨折线模糊"."""
        self.line = (at, mention)

    def finish(self) -> None:
        """A line of fracture where no fracture was named: "锁骨术后，骨折线模糊"."""
        broken = any(FindingName.FRACTURE in c.names for c in self.claims)
        if self.line is not None and not broken and not self.silent:
            at, line = self.line
            names = (FindingName.FRACTURE,)
            self._add(Claim(names, Status.PRESENT, line.start, line.end, at))
            self.claims.sort(key=lambda c: c.start)

    def _ahead(self, at: int) -> list[Mention]:
        """The mentions of the segment that begins after the comma at ``at``."""
        ahead = []
        for mention in self.found[at + 1 :]:
            if mention.kind == "comma":
                break
            ahead.append(mention)
        return ahead
