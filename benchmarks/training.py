"""The published guide's recipe (Gemma 3, QLoRA's hyperparameters, TRL) beside ours.

    python -m benchmarks.training --steps 20 --threads 4

Same data, threads, precision, seed, samples in every step; each in a process of its own, one after
the other. Two shapes of about 200 M parameters with Gemma 3's classes: A with its 262,208 words
(embeddings are most of it), B with embeddings at a 4 B model's share, 16 %. The guide trains
copies of the embeddings and the head, on every token but padding and films, with eager attention
and checkpointing, at its rate of 2e-4. Ours trains adapters alone, at 2e-3: adapters want some ten
times the rate of whole matrices, and the validation loss must not be higher than the guide's. Both
hold one sample at a time. A step of a tiny model goes before, so that what the libraries keep is
not counted; the validation loss of both is measured by the same function, on the answers alone.
The last line is JSON: samples_per_s_ratio and peak_memory_ratio of ours to the guide's, and the
same for shape B. `--shapes ab` does the same small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

TEXT_A = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "head_dim": 64,
          "num_attention_heads": 8, "num_key_value_heads": 4, "query_pre_attn_scalar": 64,
          "sliding_window": 512, "vocab_size": 262_208}  # fmt: skip
TEXT_B = {**TEXT_A, "hidden_size": 896, "intermediate_size": 3584, "num_hidden_layers": 13,
          "num_attention_heads": 14, "num_key_value_heads": 7, "vocab_size": 36_096}  # fmt: skip
# For a try on a busy machine: the same kinds at about an eighth.
SMALL_A = {**TEXT_A, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
           "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 65_552}  # fmt: skip
SMALL_B = {**SMALL_A, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
           "num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 8_192}  # fmt: skip
VISION = {"model_type": "siglip_vision_model", "hidden_size": 384, "intermediate_size": 1536,
          "num_hidden_layers": 6, "num_attention_heads": 6, "image_size": 224, "patch_size": 14,
          "vision_use_head": False}  # fmt: skip
SHAPES = {"A": TEXT_A, "B": TEXT_B, "a": SMALL_A, "b": SMALL_B}
FILM_TOKENS = 256
# The processor's own time says more than the clock where others are at work.
RATIOS = {
    "samples_per_s": "samples_per_s_ratio",
    "samples_per_cpu_s": "samples_per_cpu_s_ratio",
    "peak_bytes": "peak_memory_ratio",
}
WORDS = "Describe accurately what you see in this image."


class Peak:
    """The most this process holds, in bytes over what it held before: looked at every 5 ms."""

    def __init__(self) -> None:
        self.idle = self.most = _resident()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.stop.wait(0.005):
            self.most = max(self.most, _resident())

    def __enter__(self) -> Peak:
        self.most = _resident()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_model(shape: str, folder: Path, seed: int = 0) -> None:
    """A random Gemma 3 of a shape, with the twin's processor told of its films."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from hilum.models.twins import make_twin

    make_twin("gemma3", folder, seed)
    config = AutoConfig.from_pretrained(folder)
    text = {**config.text_config.to_dict(), **SHAPES[shape]}
    text["layer_types"] = ["sliding_attention"] * (text["num_hidden_layers"] - 1) + [
        "full_attention"
    ]
    whole = {**config.to_dict(), "text_config": text, "vision_config": VISION}
    whole["mm_tokens_per_image"] = FILM_TOKENS
    config = AutoConfig.for_model(whole.pop("model_type"), **whole)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.02)
    stops = {"eos_token_id": [1, 4], "pad_token_id": 0}
    model.generation_config.update(**stops)
    model.to(torch.bfloat16).save_pretrained(folder)
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            kept.get("image_processor", kept)["size"] = {"height": 224, "width": 224}
            if name.startswith("processor"):
                kept["image_seq_length"] = FILM_TOKENS
            path.write_text(json.dumps(kept), encoding="utf-8")


def recipe(model: Path, data: Path, out: Path, steps: int, precision: str) -> Any:
    """Ours: adapters on both towers, the projector whole, the embeddings as they are."""
    from hilum.training.recipe import parse

    return parse(
        {
            "name": "bench",
            "model": {"path": str(model)},
            "data": {"path": str(data), "prompts": {"en": WORDS}},
            "parts": {
                "vision": {"train": "lora"},
                "projector": {"train": "full"},
                "language": {"train": "lora"},
            },
            "precision": precision,
            "schedule": {"steps": steps, "batch": 4, "micro_batch": 1, "lr": 2e-3, "clip": 0.3,
                         "kind": "constant", "warmup": 0.0},
            "evaluation": {"every": 10**6, "rows": 0},
            "output": str(out),
        }
    )  # fmt: skip


def ours(given: Any) -> tuple[Any, Any]:
    """The clock of the training, and the trained model."""
    from transformers import TrainerCallback

    from hilum.training.build import build
    from hilum.training.corpus import order
    from hilum.training.sft import corpora
    from hilum.training.trainer import Tuner, arguments

    built = build(given)
    train, _ = corpora(given, built)
    how = given.schedule
    places = order(train[1].lengths, how.batch, how.steps, given.seed, how.group_by_length)
    told = arguments(given, built, how.steps, 1, evaluate=False)
    told.set_save(strategy="no")
    clock = _clock(TrainerCallback)
    tuner = Tuner(built, given, train, None, told, places, [clock])
    tuner.train()
    return clock, tuner.model


def guide(given: Any) -> tuple[Any, Any]:
    """The guide's code, with the samples in our order; its collator word by word."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from hilum.models.processing import open_processor
    from hilum.training.corpus import Corpus, open_image, order
    from hilum.training.device import Device, choose

    choice = choose(given.precision, Device.here())
    model = AutoModelForImageTextToText.from_pretrained(
        given.model.path, attn_implementation="eager", dtype=choice.dtype
    )
    processor = open_processor(Path(given.model.path))
    corpus = Corpus(given.data, "train")
    places = order(_lengths(given, corpus), 4, given.schedule.steps, given.seed, True)

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        samples = [corpus.sample(corpus.tasks[e["place"]]) for e in examples]
        texts, images = [], []
        for s in samples:
            content = [{"type": "text", "text": s.prompt}, {"type": "image"}]
            said = {"role": "assistant", "content": [{"type": "text", "text": s.answer}]}
            texts.append(
                processor.apply_chat_template(
                    [{"role": "user", "content": content}, said], tokenize=False
                ).strip()
            )
            images.append([open_image(i) for i in s.images])
        batch = processor(text=texts, images=images, return_tensors="pt", padding=True)
        labels = batch["input_ids"].clone()
        labels[labels == processor.tokenizer.pad_token_id] = -100
        labels[labels == model.config.image_token_index] = -100
        batch["labels"] = labels
        return dict(batch)

    with tempfile.TemporaryDirectory() as out:
        arguments = SFTConfig(
            output_dir=out, max_steps=given.schedule.steps, per_device_train_batch_size=1,
            gradient_accumulation_steps=4, gradient_checkpointing=True, learning_rate=2e-4,
            optim="adamw_torch_fused", bf16=choice.precision == "bf16", max_grad_norm=0.3,
            lr_scheduler_type="constant", report_to=[], disable_tqdm=True, save_strategy="no",
            use_cpu=not torch.cuda.is_available(), train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
            max_length=None, seed=given.seed,
        )  # fmt: skip
        adapters = LoraConfig(
            lora_alpha=16, lora_dropout=0.05, r=16, bias="none", target_modules="all-linear",
            task_type="CAUSAL_LM", modules_to_save=["lm_head", "embed_tokens"],
        )  # fmt: skip
        clock = _clock(TrainerCallback)
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict({"place": places[:, 0]}),
            peft_config=adapters, processing_class=processor, data_collator=collate,
            callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    return clock, trainer.model


def _lengths(given: Any, corpus: Any) -> Any:
    from hilum.training.build import open_chat
    from hilum.training.preflight import check

    class Shell:
        """What a chat wants of a model."""

        def __init__(self) -> None:
            from transformers import AutoConfig, GenerationConfig

            self.config = AutoConfig.from_pretrained(given.model.path)
            self.generation_config = GenerationConfig.from_pretrained(given.model.path)

    return check(corpus, open_chat(given, Shell()), None).lengths


def _clock(base: type) -> Any:
    class Clock(base):  # type: ignore[misc]
        """Seconds from the second step to the last: the first one warms up."""

        began = (0.0, 0.0)
        seconds = processor = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.perf_counter(), time.process_time()
            if state.global_step == 1:
                self.began = now
            self.seconds, self.processor = now[0] - self.began[0], now[1] - self.began[1]

    return Clock()


def validation_loss(given: Any, model: Any) -> float:
    """Mean negative log likelihood of the validation answers' tokens."""
    import torch
    import torch.nn.functional as F

    from hilum.training.build import open_chat
    from hilum.training.collate import Collator
    from hilum.training.corpus import Corpus

    corpus = Corpus(given.data, "validation")
    collate = Collator(open_chat(given, model))
    total, tokens = 0.0, 0
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
        for task in corpus.tasks[:8]:
            batch = collate([corpus.sample(task)])
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch).logits[:, :-1].float()
            total += float(F.cross_entropy(logits[0], labels[0], reduction="sum"))
            tokens += int((labels != -100).sum())
    return total / tokens


def _warm(train: Any, out: Path, data: Path, precision: str) -> None:
    """A step of a tiny model: what the libraries load and keep is there before it is measured."""
    import gc

    from hilum.models.twins import make_twin

    train(recipe(make_twin("gemma3", out / "twin"), data, out / "warm", 1, precision))
    gc.collect()


def child(which: str, model: Path, data: Path, steps: int, threads: int, precision: str) -> None:
    """One recipe in this process; prints a line of JSON."""
    import peft  # noqa: F401 - libraries are no part of what is measured
    import torch
    import trl

    import hilum.training.trainer  # noqa: F401

    torch.set_num_threads(threads)
    _ = trl.SFTTrainer, trl.SFTConfig
    train = ours if which == "ours" else guide
    with tempfile.TemporaryDirectory() as out:
        _warm(train, Path(out), data, precision)
        given = recipe(model, data, Path(out) / "run", steps, precision)
        with Peak() as peak:
            clock, trained = train(given)
        loss = validation_loss(given, trained)
        held = peak.most - peak.idle
    told: dict[str, float] = {}
    if which == "ours":
        from hilum.training.preview import preview

        told["estimated_bytes"] = preview(given, 1).memory.total
    counted = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    done = 4 * (steps - 1)
    told |= {"samples_per_s": done / clock.seconds, "peak_bytes": held}
    told["samples_per_cpu_s"] = done / clock.processor
    print(json.dumps({**told, "validation_loss": loss, "trained": counted}))


def make_data(folder: Path, films: int) -> Path:
    """Phantoms, prepared."""
    from hilum.cli.main import run

    run(["phantom", str(folder / "films"), "--n", str(films), "--size", "256", "--format", "png",
         "--workers", "1"])  # fmt: skip
    run(["prepare", str(folder / "films"), str(folder / "data"), "--size", "224", "--workers", "1"])
    return folder / "data"


def main(
    steps: Annotated[int, typer.Option(min=2)] = 20,
    threads: int = 4,
    films: int = 80,
    shapes: str = "AB",
    precision: str = "bf16",
    which: str = "",
    model: Path | None = None,
    data: Path | None = None,
) -> None:
    """Measure both recipes on both shapes."""
    if which and model and data:
        child(which, model, data, steps, threads, precision)
        return
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as made:
        data = data or make_data(Path(made), films)
        for shape in shapes:
            folder = Path(made) / shape
            make_model(shape, folder)
            told = {}
            for name in ("guide", "ours"):
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training",
                           "--which", name, "--model", str(folder), "--data", str(data),
                           "--steps", str(steps), "--threads", str(threads),
                           "--precision", precision]  # fmt: skip
                env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                told[name] = json.loads(done.stdout.splitlines()[-1])
                print(f"shape {shape}, {name}: {told[name]}", flush=True)
            end = "" if shape == "A" else "_b" if shape == "B" else f"_small_{shape}"
            for key, ratio in RATIOS.items():
                ratios[ratio + end] = round(told["ours"][key] / told["guide"][key], 3)
            ratios["validation_loss_difference" + end] = round(
                told["ours"]["validation_loss"] - told["guide"]["validation_loss"], 4
            )
    print(json.dumps(ratios))


if __name__ == "__main__":
    typer.run(main)
