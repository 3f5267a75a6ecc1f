from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codes import Code, HilumError
from hilum.data import (
    Given,
    Pair,
    Settings,
    Source,
    Watch,
    Work,
    open_source,
    prepare,
    processes,
)
from hilum.data.build import STATE
from hilum.data.split import draw
from tests.data.conftest import film, read_jsonl, write_csv

SMALL = Settings(work=Work(size=128), chunk_size=5)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its sha256."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(out: Path) -> list[dict[str, Any]]:
    return [
        r for f in sorted((out / "data").glob("*.parquet")) for r in pq.read_table(f).to_pylist()
    ]


def source(path: Path, **given: Any) -> Source:
    return open_source(path, None, Given(**given))


def refuses(code: Code, *arguments: Any) -> HilumError:
    with pytest.raises(HilumError) as caught:
        prepare(*arguments)
    assert caught.value.code is code
    return caught.value


def test_a_table_becomes_a_dataset_that_datasets_opens(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    card = prepare(source(table), tmp_path / "out", SMALL)
    data = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in data.items()} == card["facts"]["rows"]
    one = data["train"][0]
    assert one["images"][0].size == (128, 128)
    assert one["report"]["findings"].startswith("Fracture of the left")
    assert one["findings"][0]["instances"][0]["side"] == "left"
    assert one["split"] == "train"


def test_the_same_source_gives_the_same_bytes_whatever_does_the_work(
    table: Path, tmp_path: Path
) -> None:
    prepare(source(table), tmp_path / "one", SMALL)
    prepare(source(table), tmp_path / "two", SMALL, processes(2))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert not (tmp_path / "one" / STATE).exists()


def test_no_patient_is_in_two_splits(table: Path, tmp_path: Path) -> None:
    prepare(source(table), tmp_path / "out", replace(SMALL, fractions=(0.4, 0.3, 0.3)))
    places = {(r["patient_id"], r["split"]) for r in rows(tmp_path / "out")}
    assert len(places) == len({patient for patient, _ in places}) == 8


def test_official_splits_hold_and_a_leak_among_them_is_an_error(tmp_path: Path) -> None:
    told = [("p1", "train"), ("p2", "test"), ("p1", ""), ("p3", "")]
    write_csv(
        tmp_path / "t.csv",
        [{"patient": p, "split": s, "report": f"Rib fracture {p}{s}."} for p, s in told],
    )
    settings = replace(SMALL, work=Work(text_only=True), fractions=(0.0, 1.0, 0.0))
    card = prepare(source(tmp_path / "t.csv", text_only=True), tmp_path / "out", settings)
    assert card["facts"]["rows"] == {"train": 2, "validation": 1, "test": 1}
    told.append(("p2", "train"))
    write_csv(
        tmp_path / "t.csv",
        [{"patient": p, "split": s, "report": f"Rib fracture {p}{s}."} for p, s in told],
    )
    leak = source(tmp_path / "t.csv", text_only=True)
    error = refuses(Code.SPLIT_LEAK, leak, tmp_path / "leak", settings)
    assert "row 6" in error.detail
    assert "p2" not in error.line()
    assert not (tmp_path / "leak").exists()


@given(st.text(), st.integers())
def test_a_patient_is_drawn_alike_every_time_and_more_training_moves_none_out(
    patient: str, seed: int
) -> None:
    first = draw(patient, (0.5, 0.25, 0.25), seed)
    assert first == draw(patient, (0.5, 0.25, 0.25), seed)
    if first == "train":
        assert draw(patient, (0.8, 0.1, 0.1), seed) == "train"


def test_drawn_shares_are_near_the_wanted_ones() -> None:
    drawn = Counter(draw(f"patient {n}", (0.8, 0.1, 0.1), 0) for n in range(5000))
    assert drawn["train"] == pytest.approx(4000, abs=130)
    assert drawn["test"] == pytest.approx(500, abs=110)


def test_what_came_before_is_refused_and_told(tmp_path: Path) -> None:
    film(tmp_path / "a.png", 1)
    film(tmp_path / "b.tif", 1)  # the same pixels in another file
    film(tmp_path / "c.png", 2)
    film(tmp_path / "d.png", 3)
    told = [("s1", "a.png", "One."), ("s2", "b.tif", "Two."), ("s3", "c.png", "One.")]
    told += [("s4", "missing.png", "Four."), ("s1", "d.png", "Five."), ("s5", "d.png", "")]
    write_csv(
        tmp_path / "t.csv", [dict(zip(("study", "image", "report"), t, strict=True)) for t in told]
    )
    card = prepare(source(tmp_path / "t.csv", keep_ids=True), tmp_path / "out", SMALL)
    refused = {
        (line["study_id"], line["code"])
        for line in read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    }
    assert refused == {
        ("s2", "duplicate_image"),
        ("s4", "file_not_found"),
        ("s1", "duplicate_study"),
        ("s5", "text_empty"),
    }
    assert sum(card["facts"]["rows"].values()) + len(refused) == 6
    third = next(r for r in rows(tmp_path / "out") if r["study_id"] == "s3")
    assert Code.DUPLICATE_TEXT in third["flags"]


def test_texts_beyond_the_limit_go_to_the_quarantine(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"report": "The lungs are clear."}] * 9)
    settings = replace(SMALL, work=Work(text_only=True), max_same_text=2)
    card = prepare(source(tmp_path / "t.csv", text_only=True), tmp_path / "out", settings)
    assert sum(card["facts"]["rows"].values()) == 2
    assert card["facts"]["quarantined"] == {"duplicate_text": 7}


def test_a_dry_run_counts_the_same_and_writes_nothing(table: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    dry = prepare(source(table), None, SMALL)
    assert tree(tmp_path) == before
    assert dry["facts"] == prepare(source(table), tmp_path / "out", SMALL)["facts"]


def test_a_finished_dataset_is_left_alone_and_another_is_not_mixed_in(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    card = prepare(source(table), out, SMALL)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert prepare(source(table), out, SMALL) == card
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    refuses(Code.OUTPUT_EXISTS, source(table), out, replace(SMALL, seed=1))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    refuses(Code.OUTPUT_EXISTS, source(table), foreign, SMALL)
    assert tree(foreign).keys() == {"thesis.txt"}


class PowerCutError(Exception):
    """What stands for a power cut in these tests."""


def stop_after(count: int) -> Watch:
    seen: list[object] = []

    def result(one: object) -> None:
        seen.append(one)
        if len(seen) == count:
            raise PowerCutError

    return Watch(result=result)


@pytest.mark.parametrize("count", [1, 5, 6, 11, 12])
def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    table: Path, tmp_path: Path, count: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(source(table), whole, SMALL)
    with pytest.raises(PowerCutError):
        prepare(source(table), out, SMALL, watch=stop_after(count))
    begun: list[int] = []
    prepare(source(table), out, SMALL, watch=Watch(begun=lambda _, done: begun.append(done)))
    assert begun == [min(count - 1, 12) // 5 * 5]  # whole chunks are not made twice
    assert tree(out) == tree(whole)


def test_a_stopped_run_does_not_go_on_with_another_source(table: Path, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        prepare(source(table), tmp_path / "out", SMALL, watch=stop_after(7))
    refuses(Code.SOURCE_CHANGED, source(table), tmp_path / "out", replace(SMALL, seed=3))
    csv = table / "reports.csv"
    csv.write_text(csv.read_text().replace("ends", "is over"))
    refuses(Code.SOURCE_CHANGED, source(table), tmp_path / "out", SMALL)


def test_two_runs_do_not_write_to_one_folder(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    caught: list[Code] = []

    def again(*_: object) -> None:
        try:
            prepare(source(table), out, SMALL)
        except HilumError as error:
            caught.append(error.code)

    prepare(source(table), out, SMALL, watch=Watch(begun=again))
    assert caught == [Code.OUTPUT_BUSY]


def test_a_full_disk_is_a_code_and_the_run_goes_on(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(source(table), whole, SMALL)
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 4:
            raise OSError(28, os.strerror(28))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    error = refuses(Code.OUTPUT_UNWRITABLE, source(table), out, SMALL)
    assert "goes on where it was" in error.detail
    monkeypatch.undo()
    prepare(source(table), out, SMALL)
    assert tree(out) == tree(whole)


@pytest.mark.slow
def test_kill_nine_and_again_gives_the_same_bytes(table: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = [sys.executable, "-m", "hilum.cli.main", "prepare", str(table)]
    options = ["--size", "128", "--chunk", "2", "--workers", "1", "--domain", "any"]
    subprocess.run([*command, str(whole), *options], check=True, capture_output=True)
    killed = 0
    for wanted in (1, 3):
        child = subprocess.Popen(
            [*command, str(out), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            if len(list(out.glob(f"{STATE}/chunk-*.json"))) >= wanted:
                child.send_signal(signal.SIGKILL)
                child.wait()
                killed += 1
            time.sleep(0.001)
    if not (out / "card.json").is_file():
        assert killed
    # the card holds the command's own words: the folder is called otherwise, all else is equal
    subprocess.run([*command, str(out), *options], check=True, capture_output=True)
    for name in ("README.md", "card.json"):
        (out / name).write_text((out / name).read_text().replace(" out ", " whole "))
    assert tree(out) == tree(whole)


def die(values: dict[str, Any], pair: Pair) -> dict[str, Any]:
    """A task that ends its process, as the kernel does when memory runs out."""
    os._exit(9)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_workers_end_with_a_parent_that_was_killed(table: Path, tmp_path: Path) -> None:
    mark = f"HILUM_TEST_MARK={tmp_path.name}-{os.getpid()}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-m", "hilum.cli.main", "prepare", str(table), str(tmp_path / "out")]
    child = subprocess.Popen(
        [*command, "--chunk", "1", "--workers", "2", "--domain", "any"],
        env=os.environ | {name: value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def marked() -> list[str]:
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark.encode() in place.read_bytes():
                    found.append(place.parent.name)
        return found

    while child.poll() is None and not (tmp_path / f"out/{STATE}/chunk-00000.json").is_file():
        time.sleep(0.002)
    child.kill()
    child.wait()
    ends = time.monotonic() + 20
    while marked() and time.monotonic() < ends:
        time.sleep(0.05)
    assert marked() == []


@pytest.mark.slow
def test_a_worker_that_dies_is_a_code_and_the_run_can_go_on(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mortal = replace(SMALL, work=replace(SMALL.work, task=die))
    refuses(Code.WORKER_LOST, source(table), out, mortal, processes(2))
    prepare(source(table), out, SMALL, processes(2))
    prepare(source(table), tmp_path / "whole", SMALL)
    assert tree(out) == tree(tmp_path / "whole")


def test_a_source_without_studies_and_impossible_shares_are_refused(
    table: Path, tmp_path: Path
) -> None:
    (tmp_path / "truth.jsonl").write_text("\n")
    refuses(Code.SOURCE_INVALID, source(tmp_path), tmp_path / "out", SMALL)
    for shares in ((0.5, 0.5, 0.5), (1.2, -0.1, -0.1)):
        refuses(
            Code.OPTION_INVALID, source(table), tmp_path / "out", replace(SMALL, fractions=shares)
        )


def test_the_card_counts_what_is_in_the_rows(phantoms: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = prepare(source(phantoms[0].parent), out, SMALL)
    told = rows(out)
    for name, statuses in card["facts"]["findings"].items():
        for status, count in statuses.items():
            stated = sum(
                f["name"] == name and f["status"] == status for r in told for f in r["findings"]
            )
            assert stated == count
    assert json.loads((out / "card.json").read_text()) == card
    page = (out / "README.md").read_text(encoding="utf-8")
    assert page.startswith("---\nconfigs:")
    assert f"{len(told)} studies" in page
    assert "Apache-2.0" in page
    for name, about in card["files"].items():
        assert hashlib.sha256((out / "data" / name).read_bytes()).hexdigest() == about["sha256"]
    assert (out / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_says_what_is_wrong_with_refused_translations(tmp_path: Path) -> None:
    said = {
        "en": ["Fracture of the left clavicle.", "No pneumothorax."],
        "zh": ["右侧锁骨骨折。", "未见气胸。"],
    }
    for language, texts in said.items():
        rows = [{"image_id": f"{n}_1", "caption": text} for n, text in enumerate(texts)]
        file = tmp_path / "in" / f"{language}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"annotations": rows}))
    settings = replace(SMALL, work=Work(text_only=True))
    card = prepare(source(tmp_path / "in", text_only=True), tmp_path / "out", settings)
    assert card["facts"]["quarantined"] == {"translation_unfaithful": 1}
    assert card["facts"]["translation_errors"] == {"side": 1}
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "by kind of error: side 1." in page


def test_the_estimate_is_told_before_the_work(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"report": f"Rib fracture {n}."} for n in range(200)])
    told: list[Any] = []
    watch = Watch(ahead=told.append, result=lambda _: told.append(None))
    settings = replace(SMALL, work=Work(text_only=True))
    prepare(source(tmp_path / "t.csv", text_only=True), None, settings, watch=watch)
    assert (told[0].studies, told[0].films) == (200, 0)
    assert told[0].seconds_per_study > 0
    assert len(told) == 201
