"""Prompts to token ids: chat template, images' places, and where a text ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hilum.codes import Code, HilumError
from hilum.engines.local.films import Film

# Tokens that end a turn in published chat templates. A model's own settings may lack them:
# ChexFract's release names 2 and 32000 where its turns end with <|end|>, 32007.
TURN_ENDS = ("<|end|>", "<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<end_of_utterance>")


class Words:
    """A processor's tokenizer and chat template."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.tokenizer = processor.tokenizer

    def prompt(self, films: Sequence[Film], text: str) -> list[int]:
        """Ids of one user's turn, the films before the text, up to where the answer begins.

        Raises ``option_invalid`` where the text holds the token that stands for an image.
        """
        processor = self._processor
        if processor.image_token in text:
            raise HilumError(Code.OPTION_INVALID, "prompt", "it holds the model's image token")
        content = [*[{"type": "image"}] * len(films), {"type": "text", "text": text}]
        if processor.chat_template:
            turn = [{"role": "user", "content": content}]
            rendered = str(processor.apply_chat_template(turn, add_generation_prompt=True))
        else:
            rendered = processor.image_token * len(films) + text
        (whole,), _ = processor.get_text_with_replacements([rendered], [f.words for f in films])
        begin = self.tokenizer.bos_token
        return self.ids(whole, special=not (begin and whole.startswith(begin)))

    def ids(self, text: str, special: bool = False) -> list[int]:
        """Token ids of a text; with what the tokenizer puts around every text, or not."""
        return list(self.tokenizer.encode(text, add_special_tokens=special))

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def stops(self, named: Any) -> list[int]:
        """Ids that end a text: those ``named``, the tokenizer's end, the template's ends of a turn.

        ``named`` is a generation configuration's ``eos_token_id``: None, an id or several.
        """
        listed = named if isinstance(named, list | tuple) else [named]
        known = self.tokenizer.get_vocab()
        template = self._processor.chat_template or ""
        turns = [known[t] for t in TURN_ENDS if t in known and t in template]
        found = [*listed, self.tokenizer.eos_token_id, *turns]
        return list(dict.fromkeys(int(i) for i in found if i is not None))
