"""`hilum label` and `hilum audit`: files in, findings, pages and codes out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from hilum.cli import main

Captured = pytest.CaptureFixture[str]
REPORT = "右侧第5肋骨骨折，气胸待排。"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    path.write_text(f"id,text\na,No pneumothorax.\nb,{REPORT}\n", encoding="utf-8")
    return path


def test_json(table: Path, capsys: Captured) -> None:
    assert main.run(["label", str(table), "--json"]) == 0
    one, two = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["id"], one["findings"][0]["status"], one["reason"]) == ("a", "absent", None)
    assert two["findings"][0]["instances"][0]["ribs"] == [5]


def test_csv(table: Path, capsys: Captured) -> None:
    assert main.run(["label", str(table), "--csv"]) == 0
    one, two = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (one["pneumothorax"], one["fracture"]) == ("absent", "")
    assert (two["pneumothorax"], two["fractures"]) == ("uncertain", "right rib 5")


def test_the_terminal_and_the_page(table: Path, tmp_path: Path, capsys: Captured) -> None:
    html = tmp_path / "p.html"
    assert main.run(["label", str(table), "--explain", "--html", str(html)]) == 0
    assert "fracture present (right rib 5)" in capsys.readouterr().out
    page = html.read_text(encoding="utf-8")
    assert '<mark class="present" title="fracture present">骨折</mark>' in page
    assert "http" not in page


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(f"id,报告\n1,{REPORT}\n".encode(encoding))
    assert main.run(["label", str(path)]) == 0
    assert "pneumothorax uncertain" in capsys.readouterr().out


def test_a_text_file_is_one_report(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "one.txt"
    path.write_text("No effusion.\n\nCardiomegaly <script>.", encoding="utf-8")
    assert main.run(["label", str(path), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert len(json.loads(line)["findings"]) == 2


def test_a_bad_line_loses_nothing_else(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"text":"No effusion."}\nnot json\n{"text":3}\n{"text":""}\n[1]\n{"text":"Edema."}'
    )
    assert main.run(["label", str(path), "--json"]) == 3
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["reason"] for r in rows] == [
        None, "file_damaged", "text_empty", "text_empty", "file_damaged", None,
    ]  # fmt: skip
    assert all(r["findings"] == [] for r in rows if r["reason"])


@pytest.mark.parametrize(
    ("name", "content", "code", "status"),
    [
        ("a.csv", b"", "file_empty", 4),
        ("a.csv", b"a,b\n1,2\n", "option_invalid", 2),
        ("a.csv", b"\0\1\2\3", "file_damaged", 4),
        ("a.txt", b"\xff\xff\xff\x80", "file_damaged", 4),
        ("a.docx", b"word", "format_unknown", 4),
        ("a.json", b"{", "file_damaged", 4),
    ],
)
def test_a_bad_file_is_one_line(
    name: str, content: bytes, code: str, status: int, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main.run(["label", str(tmp_path / name)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.endswith(f"[{code}]\n")


def test_misuse(table: Path, capsys: Captured) -> None:
    assert main.run(["label", str(table), "--json", "--csv"]) == 2
    assert main.run(["label", str(table), "--text-column", "nope"]) == 2
    assert main.run(["label", str(table.with_name("none.csv"))]) == 4
    assert "nope" in capsys.readouterr().err


def test_a_terminal_is_not_moved_by_a_report(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "r.txt").write_text("No effusion.\x1b[31m [bold]x[/bold]")
    page = str(tmp_path / "p.html")
    assert main.run(["label", str(tmp_path / "r.txt"), "--explain", "--html", page]) == 0
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "[bold]x[/bold]" in out


def test_audit(tmp_path: Path, capsys: Captured) -> None:
    en, zh, out = tmp_path / "en.jsonl", tmp_path / "zh.jsonl", tmp_path / "out"
    en.write_text(
        '{"id":1,"text":"No effusion."}\n{"id":2,"text":"Left nodule."}\n', encoding="utf-8"
    )
    zh.write_text('{"id":2,"text":"右侧结节。"}\n{"id":1,"text":"没有积液。"}\n', encoding="utf-8")
    assert main.run(["audit", str(en), str(zh), "--out", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["pairs"], figures["clean"], figures["kind_side"]) == (2, 1, 1)
    (clean,) = (out / "clean.jsonl").read_text(encoding="utf-8").splitlines()
    (bad,) = (out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(clean)["id"] == "1"
    assert json.loads(bad)["errors"][0]["kind"] == "side"
    assert "http" not in (out / "index.html").read_text(encoding="utf-8")


def test_audit_of_files_that_do_not_fit(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "a.csv").write_text("text\nx\ny\n")
    (tmp_path / "b.csv").write_text("id,text\nq,x\n")
    assert main.run(["audit", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 2
    assert "1 rows for 2" in capsys.readouterr().err
