"""The card of a model's folder that brings none: its preset's words, or plain ones."""

from __future__ import annotations

from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.findings import FINDINGS, FindingName
from hilum.reading.reader import Card
from hilum.report import LANGUAGES, Language

# Asked of a model of which nothing is known.
PROMPTS: dict[Language, str] = {
    "en": "Describe the findings in this chest X-ray.",
    "zh": "请描述这张胸部X光片的所见。",
}
QUESTIONS: dict[Language, str] = {
    "en": "Does this chest X-ray show {}? Answer yes or no.",
    "zh": "这张胸部X光片是否显示{}？请回答是或否。",
}
# What models say for yes and no, in either language and at the start of a sentence or not.
YES = ("Yes", "yes", "是", "有")
NO = ("No", "no", "否", "无")
# A VLM takes several films of a study; three is what the twins are tried with.
VIEWS = 3
NEW_TOKENS = 512


def plain_card(folder: Path) -> Card:
    """A card for a folder with ``config.json`` and no ``reader.json``.

    Prompts are the fetched preset's; its languages are the ones it writes. Raises
    ``reader_invalid`` where the folder holds no model.
    """
    from hilum.models.check import parts_of
    from hilum.models.hub import read_record
    from hilum.models.licence import strictest
    from hilum.models.presets import presets
    from hilum.models.safety import read_json

    if not (folder / "config.json").is_file():
        raise HilumError(Code.READER_INVALID, folder / "reader.json", "FileNotFoundError")
    record = read_record(folder)
    known = {p.hub: p for p in presets().values() if p.hub}
    preset = known.get(record.hub) if record else None
    prompts: dict[Language, str] = {}
    for prompt in reversed(preset.prompts if preset else []):  # the first of a language counts
        if "{" not in prompt.text and prompt.text:
            prompts[prompt.language] = prompt.text
    prompts = prompts or {
        name: PROMPTS[name] for name in LANGUAGES if not preset or name in preset.languages
    }
    asked: Language = "en" if "en" in prompts else "zh"
    return Card(
        name=preset.id if preset else folder.name,
        architecture=str(read_json(folder / "config.json").get("model_type")),
        licence=strictest(parts_of(folder)).name,
        prompts=prompts,
        questions=questions(asked),
        answers=(YES, NO),
        by="first",
        max_views=VIEWS,
        max_new_tokens=NEW_TOKENS,
    )


def questions(language: Language) -> dict[FindingName, str]:
    """A question for each of CheXpert's findings but "no finding", which is their absence."""
    asked = list(FINDINGS)[1:14]
    terms = {n: FINDINGS[n].en if language == "en" else FINDINGS[n].zh for n in asked}
    return {name: QUESTIONS[language].format(term) for name, term in terms.items()}
