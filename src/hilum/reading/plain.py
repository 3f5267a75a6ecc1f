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
    from hilum.models.safety import read_json

    if not (folder / "config.json").is_file():
        raise HilumError(Code.READER_INVALID, folder / "reader.json", "FileNotFoundError")
    record = read_record(folder)
    return _card(
        folder.name,
        record.hub if record else "",
        str(read_json(folder / "config.json").get("model_type")),
        strictest(parts_of(folder)).name,
    )


def served_card(model: str) -> Card:
    """A card for a model that a server calls ``model``, often its name on the hub."""
    from hilum.models.licence import strictest
    from hilum.models.presets import presets

    known = next((p for p in presets().values() if model in (p.hub, p.id)), None)
    licence = strictest(known.parts if known else []).name
    card = _card(model, known.hub if known else "", "behind a URL", licence)
    # first tokens are all that a server tells; its tokenizer is not known, so each word by itself
    return card.model_copy(update={"answers": (YES[:2], NO[:2])})


def _card(name: str, hub: str, architecture: str, licence: str) -> Card:
    from hilum.models.presets import presets

    preset = next((p for p in presets().values() if hub and p.hub == hub), None)
    prompts: dict[Language, str] = {}
    for prompt in reversed(preset.prompts if preset else []):  # the first of a language counts
        if "{" not in prompt.text and prompt.text:
            prompts[prompt.language] = prompt.text
    prompts = prompts or {
        n: PROMPTS[n] for n in LANGUAGES if preset is None or n in preset.languages
    }
    return Card(
        name=preset.id if preset else name,
        architecture=architecture,
        licence=licence,
        prompts=prompts,
        questions=questions("en" if "en" in prompts else "zh"),
        answers=(YES, NO),
        by="first",
        max_views=VIEWS,
        max_new_tokens=NEW_TOKENS,
        chat="model",
    )


def questions(language: Language) -> dict[FindingName, str]:
    """A question for each of CheXpert's findings but "no finding", which is their absence."""
    asked = list(FINDINGS)[1:14]
    terms = {n: FINDINGS[n].en if language == "en" else FINDINGS[n].zh for n in asked}
    return {name: QUESTIONS[language].format(term) for name, term in terms.items()}
