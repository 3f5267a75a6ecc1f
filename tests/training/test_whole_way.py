"""From films to a reader: phantom, prepare, train, merge, and plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.cli.main import run
from hilum.models.twins import make_twin

RECIPE = Path(__file__).parents[2] / "recipes" / "phantom" / "gemma3-twin-lora.yaml"


@pytest.mark.slow
def test_a_phantom_becomes_a_model_that_plain_transformers_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films, data = tmp_path / "films", tmp_path / "data"
    assert run(["phantom", str(films), "--n", "60", "--seed", "3", "--size", "256",
                "--format", "png", "--workers", "1"]) in (0, None)  # fmt: skip
    assert run(["prepare", str(films), str(data), "--size", "224", "--workers", "1"]) == 0
    twin = make_twin("gemma3", tmp_path / "twin")
    capsys.readouterr()
    changed = [
        f"model.path={twin}", f"data.path={data}", f"output={tmp_path / 'run'}",
        "schedule.steps=40", "evaluation.every=20", "evaluation.rows=4", "evaluation.reports=2",
    ]  # fmt: skip
    assert run(["train", str(RECIPE), *changed, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [e["loss"] for line in lines if "loss" in (e := json.loads(line))]
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.98 * sum(losses[:10])
    assert told["numbers"]["eval_all_normal_agreement"] > 0
    merged = tmp_path / "merged"
    assert run(["merge", str(tmp_path / "run"), str(merged)]) == 0
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(merged)
    processor = AutoProcessor.from_pretrained(merged)
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": "Describe."}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    film = Image.open(next(films.glob("*.png"))).convert("RGB")
    inputs = processor(text=[prompt], images=[film], return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > inputs["input_ids"].shape[1]
