"""`hilum read`: exit codes, one line a study, files that are whole, and names of every kind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

import hilum
from hilum.cli import main, show
from hilum.codes import Code, HilumError
from hilum.report import Report

SOURCE = Path(hilum.__file__).parents[1]
GOLDEN = Path(__file__).parents[1] / "golden" / "report.schema.json"
LINE = jsonschema.Draft202012Validator(json.loads(GOLDEN.read_text(encoding="utf-8")))
# A process with torch takes four seconds to start; this reader needs none.
STUB = """
import time
import numpy as np
from hilum.engines import Draft
from hilum.reading import reader as module

class Typist:
    weights_sha256, versions, wait = "0" * 64, {}, 0.0

    def generate(self, requests, sampling):
        time.sleep(self.wait * len(requests))
        text = "未见骨折。" if requests[0].prompt == "<zh>" else "No fracture."
        return [Draft(text)] * len(requests)

    def choose(self, images, context, questions):
        return [np.tile([0.2, 0.8], (len(questions), 1))] * len(images)

card = module.Card(
    name="typist", architecture="none", licence="none", domain="phantom",
    prompts={"en": "<en>", "zh": "<zh>"}, questions={"fracture": "Fracture?"},
)
module.Reader.load = classmethod(lambda cls, source, precision: cls(card, Typist()))
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(twin: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `hilum read` with the twin in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main.run(["read", *map(str, arguments), "--reader", str(twin)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def outside(phantoms: list[Path], tmp_path: Path) -> Path:
    """A film that nothing says was simulated."""
    path = tmp_path / "someone.png"
    Image.open(phantoms[0]).save(path)
    return path


@pytest.fixture
def damaged(phantoms: list[Path], tmp_path: Path) -> Path:
    """A film cut in the middle: it is a study by its header, and fails while it is loaded."""
    path = tmp_path / "damaged.png"
    path.write_bytes(phantoms[1].read_bytes()[:5000])
    return path


def start(*arguments: object, code: str = STUB, **more: Any) -> subprocess.Popen[str]:
    """Starts `hilum` in a process of its own, after ``code``."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    environment |= more.pop("env", {"PYTHONIOENCODING": "utf-8"})
    # a background job of a shell ignores Ctrl-C, and so would its children
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}\n{code}\nfrom hilum.cli.main import app\napp()"
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        text=True,
        encoding="utf-8",
        **given,
    )


def rows(output: str) -> list[dict[str, Any]]:
    """The lines of --json, each checked against the published schema."""
    lines = output.split("\n")
    assert lines.pop() == ""
    parsed = [json.loads(line) for line in lines]
    for line in parsed:
        LINE.validate(line)
    return parsed


# -- exit codes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("r", 0),
        ("a", 3),
        ("f", 4),
        ("m", 4),
        ("ra", 3),
        ("rf", 4),
        ("fa", 4),
        ("amr", 4),
        ("mm", 4),
        ("rafm", 4),
    ],
)
@pytest.mark.parametrize("json_wanted", [False, True])
def test_the_worst_exit_code_wins(
    which: str,
    expected: int,
    json_wanted: bool,
    run: Run,
    phantoms: list[Path],
    outside: Path,
    damaged: Path,
) -> None:
    films = {"r": phantoms[0], "a": outside, "f": damaged}
    paths = [films.get(w, Path(f"missing-{k}.png")) for k, w in enumerate(which)]
    code, out, err = run(*paths, *(["--json"] if json_wanted else []))
    assert code == expected
    assert err == ""
    if json_wanted:
        kinds = {"r": "accept", "a": "abstain"}
        found = [r["gate"]["verdict"] if "gate" in r else "failed" for r in rows(out)]
        assert found == [kinds.get(w, "failed") for w in which]
    else:
        assert out.count("not read: ") == which.count("a")
        assert out.count("failed  ") == which.count("f") + which.count("m")


def test_allowed_films_are_read_with_a_warning_above_them(run: Run, outside: Path) -> None:
    code, out, _ = run(outside, "--allow-outside-domain")
    assert code == 0
    assert out.index("NOT VALID") < out.index("cardiomegaly")
    code, out, _ = run(outside, "--allow-outside-domain", "--language", "zh")
    assert out.index("无效") < out.index("心影增大")
    (row,) = rows(run(outside, "--allow-outside-domain", "--json")[1])
    assert row["flags"][0] == "read_outside_domain"


# -- JSON -------------------------------------------------------------------------------------


def test_json_is_a_line_a_study_and_nothing_else(
    run: Run, phantoms: list[Path], outside: Path, damaged: Path
) -> None:
    paths = [phantoms[0], outside, damaged, Path("missing.png"), phantoms[1]]
    code, out, err = run(*paths, "--json", "--language", "zh")
    assert (code, err) == (4, "")
    read, abstained, broken, missing, last = rows(out)
    assert read["language"] == "zh"
    assert Report.model_validate(read).model_dump(mode="json") == read
    assert abstained["gate"]["reasons"] == ["outside_reader_domain"]
    assert (abstained["findings"], abstained["text"]) == ([], None)
    assert broken["error"] == "file_damaged"
    assert broken["path"] == str(damaged)
    assert "文件损坏" in broken["message"]
    assert missing["error"] == "file_not_found"
    assert last["text"] != read["text"]


@pytest.mark.parametrize(
    ("language", "last"),
    [
        ("en", "rounded to 256 levels, 0 black to 255 white"),
        ("zh", "取整为 256 级灰度，0 黑，255 白"),
    ],
)
def test_pixels_are_explained_where_asked(
    language: str, last: str, run: Run, phantoms: list[Path], outside: Path
) -> None:
    """Of a film that is read and of one that abstains, in words and as data, in either language."""
    options = ["--language", language, "--explain-pixels"]
    _, out, _ = run(phantoms[0], outside, *options)
    assert out.count(last) == 2
    assert "  1. " in out
    _, out, _ = run(phantoms[0], outside, "--json", *options)
    for row in rows(out):
        (view,) = row["study"]["views"]
        assert [step["name"] for step in view["steps"]][-1] == "eight_bits"
        assert view["steps"][-1]["text"] == last
        assert view["steps"][0]["values"]["format"] == "PNG"


def test_pixels_are_not_explained_unasked(run: Run, phantoms: list[Path]) -> None:
    assert "256 levels" not in run(phantoms[0])[1]
    (row,) = rows(run(phantoms[0], "--json")[1])
    assert row["study"]["views"][0]["steps"] == []


def test_each_film_of_a_study_is_explained_by_name(
    run: Run, make_file: Callable[..., Path]
) -> None:
    one = make_file(name="one.dcm", StudyInstanceUID="1.2.3")
    two = make_file(
        name="two.dcm", StudyInstanceUID="1.2.3", PhotometricInterpretation="MONOCHROME1"
    )
    _, out, _ = run(one, two, "--explain-pixels")
    first, second = out.split("  two.dcm\n")
    assert "  one.dcm\n  1. " in first
    assert "not inverted" in first
    assert "inverted once" in second


def test_json_is_utf_8_whatever_the_terminal_is(phantoms: list[Path], tmp_path: Path) -> None:
    film = shutil.copy(phantoms[0], tmp_path / "胸片.png")
    with start(
        *("read", film, "--json", "--language", "zh"),
        env={"PYTHONIOENCODING": "ascii"},
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    (row,) = rows(out)
    assert "胸片.png" in row["study"]["views"][0]["path"]
    assert "骨折" in row["text"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_json_goes_to_the_file_though_errors_go_to_a_terminal(
    twin: Path, phantoms: list[Path], tmp_path: Path
) -> None:
    """`hilum read films --json > lines` at a prompt: the bar is shown, the lines are kept."""
    import pty

    parent, child = pty.openpty()
    target = tmp_path / "lines"
    arguments = ("read", *phantoms[:2], "--reader", twin, "--json")
    with (
        target.open("w") as lines,
        start(*arguments, code="", stdout=lines, stderr=child) as process,
    ):
        os.close(child)
        shown = _read_all(parent)
        assert process.wait(60) == 0
    assert len(rows(target.read_text(encoding="utf-8"))) == 2
    assert "reading" in shown  # the bar
    assert '"study"' not in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_on_a_terminal(options: list[str], phantoms: list[Path]) -> None:
    import pty

    parent, child = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "200", "NO_COLOR": ""}
    with start(
        *("read", *phantoms[:2], *options),
        stdout=child,
        stderr=child,
        env=environment,
    ) as process:
        os.close(child)
        shown = _read_all(parent)
        assert process.wait(60) == 0
    if options:
        assert len(rows(shown.replace("\r\n", "\n"))) == 2  # no bar between them
    else:
        assert "\x1b[" in shown
        assert "2 read, 0 abstained, 0 failed" in shown


def _read_all(parent: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(parent)
    return b"".join(parts).decode("utf-8", "replace")


# -- what a person sees -----------------------------------------------------------------------


def test_a_block_holds_findings_text_and_notice(run: Run, phantoms: list[Path]) -> None:
    code, out, _ = run(phantoms[0])
    assert code == 0
    assert phantoms[0].name in out
    assert "Heart size is normal." in out or "The heart is enlarged." in out
    assert "Research use only." in out
    assert "1 read" not in out  # one study needs no sum
    lines = [line.split() for line in out.splitlines()]
    assert ["nodule", "0.001", "absent"] in [[*x[:1], "0.001", *x[2:]] for x in lines]


def test_in_chinese(run: Run, phantoms: list[Path], outside: Path) -> None:
    code, out, _ = run(phantoms[0], outside, "missing.png", "--language", "zh")
    assert code == 4
    assert "新鲜骨折" in out
    assert "未阅片: 超出该阅片器的训练范围 [outside_reader_domain]" in out
    assert "失败  missing.png: 文件或文件夹不存在 [file_not_found]" in out
    assert "1 份已阅，1 份未阅，1 份失败" in out
    for english in ("absent", "present", "failed", "not read"):
        assert english not in out


def test_long_lines_are_not_cut_where_nobody_looks(
    run: Run, phantoms: list[Path], tmp_path: Path
) -> None:
    """Through a pipe a line stays a line: it is searched, not looked at."""
    long = tmp_path / f"{'long ' * 30}.png"
    shutil.copy(phantoms[0], long)
    missing = tmp_path / ("x" * 120)
    _, out, _ = run(long, missing)
    lines = out.splitlines()
    assert any(line.startswith(long.name) for line in lines)
    assert f"failed  {missing}: there is no such file or folder [file_not_found]" in lines
    assert any(line.startswith("  Heart") and line.endswith("8th rib.") for line in lines)


@pytest.mark.parametrize("variable", ["NO_COLOR", "PLAIN"])
def test_a_pipe_gets_no_escape_codes(variable: str, phantoms: list[Path], outside: Path) -> None:
    with start(
        *("read", phantoms[0], outside, "missing.png"),
        env={variable: "1", "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color"},
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (4, "")
    assert "\x1b" not in out
    assert "1 read, 1 abstained, 1 failed" in out


def test_a_terminal_without_chinese_still_gets_a_report(phantoms: list[Path]) -> None:
    with start(
        *("read", phantoms[0], "--language", "zh"), env={"PYTHONIOENCODING": "ascii"}
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\\u9aa8\\u6298" in out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_of_the_output_that_goes_away(options: list[str], phantoms: list[Path]) -> None:
    """`hilum read films --json | head -1`."""
    with start("read", *phantoms, *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 1
    assert err == ""


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["read", "--help"]) == 0
    assert "Example: hilum read " in capsys.readouterr().out


# -- names ------------------------------------------------------------------------------------

NAMES = [
    "two words.png",
    "胸片 正位.png",
    "[red]x[bold].png",
    "[/].png",
    "back\\slash\\.png",
    ":warning:.png",
    "-starts-like-an-option.png",
    "new\nline.png",
    "\x1b[31mred\x07.png",
    "right\u202eto-left.png",
    "no-utf-8-\udcff.png",
    "no extension",
    "x" * 230 + ".png",
]


@pytest.fixture
def named(phantoms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names below the current folder, each of a film of its own bytes."""
    names = [f"films/{k:02d}{name}" for k, name in enumerate(NAMES)]
    for k, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)  # [/] is half a folder
        path.write_bytes(phantoms[0].read_bytes() + b"%d" % k)
    monkeypatch.chdir(tmp_path)
    return names


def test_a_name_is_printed_as_it_is_and_moves_nothing(named: list[str], run: Run) -> None:
    code, out, err = run("films", "--out", "out")
    assert (code, err) == (0, "")
    assert not {c for c in out if not c.isprintable()} - {"\n"}
    lines = out.splitlines()
    for name in named:
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in Path(name).name)
        (block,) = [line for line in lines if line.startswith(f"{shown}  ")]
        assert len(block) == len(shown) + 14  # and the study's id
    assert len(list(Path("out").glob("*.json"))) == len(named)


def test_a_name_that_fails_is_printed_as_it_is_too(named: list[str], run: Run) -> None:
    for name in named:
        Path(name).write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = run("films")
    assert (code, err) == (4, "")
    assert not {c for c in out if not c.isprintable()} - {"\n"}
    lines = out.splitlines()
    for name in named:
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
        assert [x for x in lines if x.startswith(f"failed  {shown}: ") and x.endswith("_damaged]")]


@pytest.mark.parametrize("whole", [True, False])
def test_a_name_in_json(whole: bool, named: list[str], run: Run) -> None:
    if not whole:
        for name in named:
            Path(name).write_bytes(b"\x89PNG\r\n\x1a\n")
    _, out, err = run("films", "--json")
    assert err == ""
    found = [r["study"]["views"][0]["path"] if whole else r["path"] for r in rows(out)]
    # what JSON cannot hold is spelt out
    assert sorted(found) == sorted(n.replace("\udcff", "\\udcff") for n in named)


def test_a_name_that_begins_like_an_option(
    run: Run, phantoms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(phantoms[0], tmp_path / "--film.png")
    monkeypatch.chdir(tmp_path)
    assert run("./--film.png")[0] == 0
    assert run("--film.png")[0] == 2


# -- files ------------------------------------------------------------------------------------


def test_out_holds_what_json_prints(
    run: Run, phantoms: list[Path], outside: Path, damaged: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "folder"
    code, out, _ = run(*phantoms[:2], outside, damaged, "--json", "--out", target, "--overlay")
    assert code == 4
    reports = [r for r in rows(out) if "study" in r]
    ids = [r["study"]["id"] for r in reports]
    assert sorted(p.name for p in target.iterdir()) == sorted(
        f"{i}.{kind}" for i in ids for kind in ("json", "png")
    )
    for row in reports:
        written = (target / f"{row['study']['id']}.json").read_text(encoding="utf-8")
        assert json.loads(written) == row
        with Image.open(target / f"{row['study']['id']}.png") as picture:
            picture.load()
            assert picture.format == "PNG"


def test_without_overlay_there_is_no_picture(
    run: Run, phantoms: list[Path], tmp_path: Path
) -> None:
    _, out, _ = run(phantoms[0], "--out", tmp_path / "o")
    assert [p.suffix for p in (tmp_path / "o").iterdir()] == [".json"]
    assert "picture" not in out


def test_a_picture_without_out_lies_in_the_current_folder_and_nothing_else(
    run: Run, phantoms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(phantoms[0], "--overlay")
    assert code == 0
    (picture,) = tmp_path.iterdir()
    assert picture.suffix == ".png"
    assert f"picture: {picture.name}" in out


def test_two_files_of_the_same_content_are_both_kept(
    run: Run, phantoms: list[Path], tmp_path: Path
) -> None:
    """They have one id: the second must not take the place of the first."""
    films, target = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(phantoms[0], films / name)
    shutil.copy(phantoms[1], films / "d.png")
    for _ in range(2):  # and a second run gives the same names again
        code, out, _ = run(films, "--json", "--out", target)
        assert code == 0
        same, other = rows(out)[0]["study"]["id"], rows(out)[3]["study"]["id"]
        names = [f"{same}.json", f"{same}-2.json", f"{same}-3.json", f"{other}.json"]
        assert sorted(p.name for p in target.glob("*.json")) == sorted(names)
        for name, film in zip(names, "abcd", strict=True):
            report = json.loads((target / name).read_text(encoding="utf-8"))
            assert Path(report["study"]["views"][0]["path"]).name == f"{film}.png"
    run(films / "a.png", films / "b.png", "--overlay", "--out", target)
    assert {p.name for p in target.glob("*.png")} == {f"{same}.png", f"{same}-2.png"}


def test_one_file_named_twice_is_one_study(run: Run, phantoms: list[Path]) -> None:
    film = phantoms[0]
    code, out, _ = run(film, film, film.parent / "." / film.name, "--json")
    assert code == 0
    assert len(rows(out)) == 1


def test_a_second_run_replaces_the_first(run: Run, phantoms: list[Path], tmp_path: Path) -> None:
    run(phantoms[0], "--out", tmp_path, "--overlay")
    before = {p.name for p in tmp_path.iterdir()}
    code, _, _ = run(phantoms[0], "--out", tmp_path, "--overlay", "--language", "zh")
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == before
    (written,) = tmp_path.glob("*.json")
    assert json.loads(written.read_text(encoding="utf-8"))["language"] == "zh"


def test_out_may_be_the_folder_of_the_films(run: Run, phantoms: list[Path], tmp_path: Path) -> None:
    """The second run meets the first one's JSON (passed over) and pictures (not of a chest)."""
    for film in phantoms[:2]:
        shutil.copy(film, tmp_path)
    assert run(tmp_path, "--out", tmp_path, "--overlay", "--json")[0] == 0
    code, out, _ = run(tmp_path, "--out", tmp_path, "--json")
    assert code == 3
    verdicts = [r["gate"]["verdict"] for r in rows(out)]
    assert sorted(verdicts) == ["abstain", "abstain", "accept", "accept"]


def test_out_that_is_a_file_is_refused_before_anything_is_read(
    run: Run, phantoms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hilum.reading.reader.Reader.load", lambda *_: pytest.fail("too late"))
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        code, out, err = run(phantoms[0], "--out", target)
        assert (code, out) == (4, "")
        assert err.startswith(f"{target}: the output cannot be written (")
        assert err.endswith(") [output_unwritable]\n")
        assert err.count("\n") == 1


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_out_that_becomes_unwritable_is_one_line_and_leaves_no_half_file(
    step: str, run: Run, phantoms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(Path, step)

    def full(path: Path, argument: Any) -> Any:
        if path.name.startswith("."):
            path.write_text("half of it")
            raise OSError(28, "No space left on device")
        return real(path, argument)

    monkeypatch.setattr(Path, step, full)
    code, out, err = run(*phantoms[:2], "--json", "--out", tmp_path)
    assert code == 4
    assert out == ""  # what could not be kept is not announced
    assert err == (
        f"{tmp_path}: the output cannot be written (No space left on device) [output_unwritable]\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stands_where_the_report_should(
    run: Run, phantoms: list[Path], tmp_path: Path
) -> None:
    (row,) = rows(run(phantoms[0], "--json")[1])
    (tmp_path / f"{row['study']['id']}.json").mkdir()
    code, _, err = run(phantoms[0], "--out", tmp_path)
    assert code == 4
    assert err.endswith("[output_unwritable]\n")


# -- what goes wrong --------------------------------------------------------------------------


def test_unreadable_films_do_not_stop_the_others(
    run: Run, phantoms: list[Path], damaged: Path, tmp_path: Path
) -> None:
    """Across batches, and in the order of the paths."""
    paths: list[Path] = []
    for k in range(20):
        film = tmp_path / f"film-{k}.png"
        shutil.copy(phantoms[k % 6], film)
        (tmp_path / f"text-{k}.png").write_text("no film")
        paths += [film, damaged if k == 7 else tmp_path / f"text-{k}.png"]
    code, out, err = run(*paths, "--json")
    assert (code, err) == (4, "")
    found = rows(out)
    assert [r["path"] if "path" in r else r["study"]["views"][0]["path"] for r in found] == [
        str(p) for p in paths
    ]
    assert sum("error" in r for r in found) == 20


def test_a_defect_that_one_film_brings_out_stops_no_other(
    run: Run, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum import imaging

    real = imaging.load

    def load(files: imaging.StudyFiles) -> Any:
        if files.paths[0] == phantoms[1]:
            raise ZeroDivisionError("PLANTED NAME of a patient")
        return real(files)

    monkeypatch.setattr(imaging, "load", load)
    monkeypatch.delenv("HILUM_DEBUG", raising=False)
    code, out, err = run(*phantoms[:3], "--json")
    assert (code, err) == (4, "")
    assert [r.get("error") for r in rows(out)] == [None, "internal_error", None]
    assert "ZeroDivisionError" in rows(out)[1]["message"]
    assert "PLANTED" not in out
    monkeypatch.setenv("HILUM_DEBUG", "1")
    code, out, err = run(*phantoms[:3], "--json")
    assert code == 4
    assert "Traceback" in err  # asked for: where, at the price of the others


def test_an_unknown_reader_is_one_line(
    phantoms: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["read", str(phantoms[0]), "--reader", "chexfract"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("chexfract: there is no such reader")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["x.png", "--language", "fr"], ["x.png", "--batch", "3"]]
)
def test_a_misuse_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["read", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("[option_invalid]\n")


def test_a_mistyped_path_is_answered_without_torch(twin: Path) -> None:
    watch = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))"
    )
    with start("read", "flims", "--reader", twin, code=watch) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert out == "failed  flims: there is no such file or folder [file_not_found]\n"
    assert err == "False\n"


# -- Ctrl-C -----------------------------------------------------------------------------------


def test_ctrl_c_leaves_whole_files(phantoms: list[Path], tmp_path: Path) -> None:
    films, target = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for k in range(80):  # of different bytes, so each has its own id
        (films / f"{k:03d}.png").write_bytes(phantoms[k % 6].read_bytes() + b"%d" % k)
    with start(
        *("read", films, "--out", target, "--overlay", "--json"),
        code=f"{STUB}\nTypist.wait = 0.05",
    ) as process:
        _wait_for(lambda: len(list(target.glob("*.png"))) >= 3)
        process.send_signal(signal.SIGINT)
        begin = time.perf_counter()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert time.perf_counter() - begin < 5
    reports = sorted(target.glob("*.json"))
    assert 3 <= len(reports) < 80
    for path in reports:
        assert json.loads(path.read_text(encoding="utf-8"))["text"] == "No fracture."
    for path in target.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
    assert {p.suffix for p in target.iterdir()} == {".json", ".png"}  # and no half of one
    assert len(rows(out)) in (len(reports), len(reports) - 1)


# Children that never finish a film called slow: a decoder that keeps the interpreter's lock.
SLOW = """
import ctypes
from hilum.imaging import film, worker
real = film.read

def read(path):
    if path.name.startswith("slow"):
        path.with_suffix(".busy").touch()
        ctypes.PyDLL(None).sleep(1000)
    return real(path)

film.read = read
worker.main()
"""
SLOW_CHILDREN = f"""
import atexit
from hilum.imaging import child, children
children._pool = children.Pool(3, child.Limits(seconds=900), ("-c", {SLOW!r}))
atexit.register(children._pool.close)
"""


def _alive(mark: str) -> list[int]:
    """Processes that hold a mark in their environment; one that has ended holds none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_films_in_flight(phantoms: list[Path], tmp_path: Path, times: int) -> None:
    """Nothing is waited for, no child is left, and the next run reads every film."""
    films, target, mark = tmp_path / "films", tmp_path / "out", f"HILUM_MARK={tmp_path}"
    films.mkdir()
    for k, path in enumerate(phantoms):
        shutil.copy(path, films / f"{'slow' if k > 1 else 'film'}{k}.png")
    with start(
        *("read", films, "--out", target, "--json"),
        code=STUB + SLOW_CHILDREN,
        env=dict([mark.split("=")]),
    ) as process:
        _wait_for(lambda: len(list(films.glob("*.busy"))) == 3)
        assert len(_alive(mark)) == 4
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    _wait_for(lambda: not _alive(mark))
    assert list(target.iterdir()) == []
    for path in films.glob("*.busy"):
        path.unlink()
    with start("read", films, "--out", target, "--json") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert len(rows(out)) == len(list(target.glob("*.json"))) == 6


def test_an_error_that_a_library_makes_of_ctrl_c_is_still_ctrl_c(phantoms: list[Path]) -> None:
    """As pydantic does where it is interrupted while a class is built."""
    code = (
        "import signal\nfrom hilum import imaging\n"
        "def scan(paths):\n"
        "    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        raise ValueError('DOE^JANE') from None\n"
        "imaging.scan = scan"
    )
    with start("read", phantoms[0], code=code) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def _wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


# -- the printer ------------------------------------------------------------------------------


def test_a_text_cannot_move_the_terminal(
    capsys: pytest.CaptureFixture[str], twin: Path, phantoms: list[Path]
) -> None:
    """A model may write anything."""
    from hilum import Reader, imaging

    study = imaging.load_study([phantoms[0]])
    (report,) = Reader.load(twin).read_studies([study])
    report.text = "[bold]One[/bold].\n\x1b[2JTwo.\r\nThree\\[/]."
    with show.Printer("en", as_json=False, out=None, overlay=False, total=1) as printer:
        printer.report(report, study)
    out = capsys.readouterr().out
    assert "  [bold]One[/bold].\n  \\x1b[2JTwo.\n  Three\\[/].\n" in out


def test_a_failure_without_paths_names_its_subject(capsys: pytest.CaptureFixture[str]) -> None:
    from hilum.imaging import StudyFiles

    error = HilumError(Code.NO_FILES, "folder")
    with show.Printer("en", as_json=True, out=None, overlay=False, total=1) as printer:
        printer.failure(StudyFiles("x", (), error), error)
    assert rows(capsys.readouterr().out)[0]["path"] == "folder"
    assert printer.exit_code == 4


# -- journals ---------------------------------------------------------------------------------


def keys(journal: Path) -> list[str]:
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert "journal" in lines[0]
    return [line["key"] for line in lines[1:]]


def test_a_journal_of_a_run_killed_again_and_again_has_one_result_a_study(
    phantoms: list[Path], damaged: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for i in range(100):
        name = damaged if i == 7 else phantoms[i % len(phantoms)]
        shutil.copy(name, folder / f"{i:03}.png")
    journal = tmp_path / "reads.jsonl"
    slow = STUB + "\nTypist.wait = 0.02\n"
    seen = 0
    for more in (5, 12):
        process = start("read", folder, "--json", "--journal", journal, "--workers", "1", code=slow)
        while process.poll() is None and (
            not journal.exists() or journal.read_bytes().count(b"\n") < seen + more
        ):
            time.sleep(0.01)
        process.kill()
        process.communicate()
        seen = journal.read_bytes().count(b"\n")
    journal.write_bytes(journal.read_bytes() + b'{"key": "half a li')
    process = start("read", folder, "--json", "--journal", journal, "--workers", "1", code=slow)
    out, _ = process.communicate()
    found = keys(journal)
    assert len(found) == len(set(found)) == 100
    assert 0 < len(rows(out)) < 100  # what was there was not read again
    failed = [line for line in journal.read_text().splitlines() if '"error"' in line]
    assert len(failed) == 1


def test_a_journal_keeps_to_its_settings_and_to_one_process(
    run: Run, phantoms: list[Path], tmp_path: Path
) -> None:
    from hilum.reading.journal import Journal

    journal = tmp_path / "reads.jsonl"
    assert run(phantoms[0], "--journal", journal)[0] == 0
    code, out, _ = run(phantoms[0], phantoms[1], "--json", "--journal", journal)
    assert (code, len(rows(out))) == (0, 1)
    code, _, error = run(phantoms[0], "--language", "zh", "--journal", journal)
    assert code == 4
    assert "source_changed" in error
    settings = json.loads(journal.read_text().splitlines()[0])["journal"]
    with Journal(journal, settings):
        code, _, error = run(phantoms[2], "--journal", journal)
    assert "output_busy" in error
    other = tmp_path / "notes.txt"
    other.write_text("a text of mine\n")
    code, _, error = run(phantoms[0], "--journal", other)
    assert "row_invalid" in error
    assert other.read_text() == "a text of mine\n"
