"""Decoding in child processes: what a file does to its child never reaches the parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hilum.codes import Code, HilumError
from hilum.imaging import child, children, film, load_study
from hilum.imaging.child import Limits
from hilum.imaging.children import Pool

# A child that does to itself what the name of a file says, and else what a real one does.
POISON = """
import ctypes, os, signal, sys, time
import numpy
from hilum.imaging import film, worker
libc = ctypes.PyDLL(None)  # keeps the interpreter's lock, as a decoder may
real = film.read
seen = []

def read(path):
    seen.append(path.name)
    if path.name == "crash":
        ctypes.string_at(0)
    if path.name == "crash-when-second" and len(seen) > 1:
        os.abort()
    if path.name == "hang":
        libc.sleep(1000)
    if path.name == "greedy":
        numpy.ones(1 << 40, "u1")
    if path.name == "chatty":
        os.write(1, b"premature end of file\\n")
        print("corrupt", flush=True)
    if path.name == "defect":
        raise KeyError("DOE^JANE")
    if path.name == "exit":
        os._exit(3)
    if path.name == "startled" and not path.with_suffix(".seen").exists():
        path.with_suffix(".seen").touch()
        os.kill(os.getpid(), signal.SIGIO)
    if path.name == "garbage":
        for fd in range(3, 20):
            try:
                os.write(fd, b"{]\\n")
            except OSError:
                pass
    return real(path)

film.read = read
worker.main()
"""


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(2, Limits(seconds=3), ("-c", POISON))
    yield pool
    pool.close()


def error_of(pool: Pool, path: Path) -> HilumError:
    with pytest.raises(HilumError) as caught:
        pool.read(path)
    assert caught.value.subject == str(path)
    return caught.value


def test_a_child_reads_what_this_process_would(make_file: Any) -> None:
    tables = {"WindowCenter": ["2000", "100"], "WindowWidth": ["4000", "50"]}
    path = make_file(**tables, PhotometricInterpretation="MONOCHROME1", PixelSpacing=["0.2", "0.2"])
    mine, theirs = film.read(path), children.read(path)
    assert theirs[1] == mine[1]
    assert theirs[0].model_dump(exclude={"pixels"}) == mine[0].model_dump(exclude={"pixels"})
    assert (theirs[0].pixels == mine[0].pixels).all()
    theirs[0].pixels[0, 0] = 7  # the caller's own
    assert children.identify(path) == film.identify(path)


def test_a_child_that_took_the_request_for_its_parents_end_is_asked_again(
    pool: Pool, make_file: Any
) -> None:
    """Its first film, too: it is not the film's fault."""
    path = make_file()
    startled = path.rename(path.with_name("startled"))
    view, _ = pool.read(startled)
    assert view.pixels.shape == film.read(startled)[0].pixels.shape
    assert startled.with_suffix(".seen").exists()
    assert not pool.deaths


def test_a_header_comes_in_dicoms_json_model(make_file: Any, tmp_path: Path) -> None:
    raw = {"PixelSpacing": b"0.5\\0.25", "WindowCenter": b"abc", "Modality": b"CT"}
    path = make_file(raw=raw)
    keywords = ["PixelSpacing", "WindowCenter", "Modality", "Rows", "ImagePositionPatient"]
    found = Dataset.from_json(children.header(path, keywords))
    assert [float(part) for part in found.PixelSpacing] == [0.5, 0.25]
    assert (found.Modality, found.Rows) == ("CT", 256)
    assert "ImagePositionPatient" not in found
    assert "PatientName" not in found
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(HilumError) as caught:
        children.header(tmp_path / "x.png", keywords)
    assert caught.value.code is Code.FORMAT_UNKNOWN


@pytest.mark.parametrize(
    ("name", "code", "detail"),
    [
        ("crash", Code.DECODER_DIED, "SIGSEGV"),
        ("hang", Code.DECODER_TOO_SLOW, "3 s"),
        ("greedy", Code.TOO_MANY_PIXELS, "decoding needs more than 3072 MiB of memory"),
        ("exit", Code.DECODER_DIED, "exit status 3"),
        ("defect", Code.INTERNAL_ERROR, "KeyError at <string>:"),
    ],
)
def test_a_poison_file_is_one_line_and_the_next_is_read(
    pool: Pool, make_file: Any, name: str, code: Code, detail: str
) -> None:
    poison, good = make_file(name=name), make_file(name="good")
    assert pool.read(good)[0].rows == 256
    error = error_of(pool, poison)
    assert error.code is code
    assert error.detail.startswith(detail)
    assert "DOE" not in error.line()
    assert pool.read(good)[0].rows == 256


def test_what_a_decoder_prints_is_no_answer(pool: Pool, make_file: Any) -> None:
    assert pool.read(make_file(name="chatty"))[0].rows == 256


def test_an_answer_that_is_none_costs_the_child(pool: Pool, make_file: Any) -> None:
    """A compromised child may say anything."""
    assert error_of(pool, make_file(name="garbage")).code is Code.DECODER_DIED
    assert pool.read(make_file(name="good"))[0].rows == 256


def test_a_file_is_not_blamed_for_the_one_before(pool: Pool, make_file: Any) -> None:
    pool.read(make_file(name="good"))
    assert pool.read(make_file(name="crash-when-second"))[0].rows == 256
    assert pool.deaths == {Code.DECODER_DIED: 1}


def test_a_crash_is_tried_once_more_and_no_more(pool: Pool, make_file: Any) -> None:
    error_of(pool, make_file(name="crash"))
    assert pool.deaths == {Code.DECODER_DIED: 1}
    pool.read(make_file(name="good"))
    error_of(pool, make_file(name="crash"))
    assert pool.deaths == {Code.DECODER_DIED: 3}
    error_of(pool, make_file(name="hang"))
    assert pool.deaths[Code.DECODER_TOO_SLOW] == 1


def test_threads_share_the_children(make_file: Any) -> None:
    films = [make_file(np.full((20, 30 + i), i, np.uint16), name=f"{i}") for i in range(12)]
    pool = Pool(2)
    try:
        with ThreadPoolExecutor(6) as threads:
            views = [view for view, _ in threads.map(pool.read, films * 3)]
        assert len(pool._idle) <= 2
    finally:
        pool.close()
    for i, view in enumerate(views):
        assert view.columns == 30 + i % 12
        assert (view.pixels == i % 12).all()


def test_a_program_that_cannot_start_is_said(make_file: Any, monkeypatch: Any) -> None:
    pool = Pool(1, program=("-c", "raise SystemExit(9)"))
    assert error_of(pool, make_file()).detail == "exit status 9"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    error = error_of(pool, make_file())
    assert error.code is Code.DECODER_DIED
    assert "cannot be started" in error.detail


def test_large_films_leave_no_memory_with_the_child(make_file: Any) -> None:
    pool = Pool(1)  # a busy machine may need longer than the other tests' limit
    try:
        big = make_file(np.zeros((6000, 6000), np.uint16), name="big")
        assert pool.read(big)[0].columns == 6000
        (child,) = pool._idle
        assert os.fstat(child._memory).st_size == 0
    finally:
        pool.close()


def test_an_interrupt_does_not_mix_up_answers(
    pool: Pool, make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make_file(name="1"), make_file(np.zeros((9, 9), np.uint16), name="2")
    pool.read(one)
    real = child.Child._line

    def interrupted(self: child.Child) -> bytes:
        monkeypatch.setattr(child.Child, "_line", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(child.Child, "_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.read(one)
    assert pool.read(two)[0].rows == 9


def test_closing_ends_busy_children(pool: Pool, make_file: Any) -> None:
    path, errors = make_file(name="hang"), []
    thread = threading.Thread(target=lambda: errors.append(error_of(pool, path).code))
    thread.start()
    while not pool._busy:
        time.sleep(0.01)
    pool.close()
    thread.join(20)
    assert errors == [Code.DECODER_DIED]


# --- parents that end, fork, or hold a strange name

PARENT = """
import os, sys, threading
from pathlib import Path
from hilum.imaging.child import Limits
from hilum.imaging.children import Pool
pool = Pool(2, Limits(seconds=300), ("-c", os.environ["POISON"]))
pool.read(Path(sys.argv[1]))
idle = pool._idle[0].process.pid
threading.Thread(target=pool.read, args=[Path(sys.argv[2])], daemon=True).start()
while not pool._busy: pass
threading.Thread(target=pool.read, args=[Path(sys.argv[1])], daemon=True).start()
import time; time.sleep(0.5)
print(*{child.process.pid for child in [*pool._idle, *pool._busy]}, flush=True)
time.sleep(1000)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and the signal of a pipe's end")
def test_a_killed_parent_leaves_no_child_busy_or_idle(make_file: Any) -> None:
    good, hang = make_file(name="good"), make_file(name="hang")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, good, hang],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "POISON": POISON},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert not any(map(gone, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert until(lambda: all(map(gone, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs the signal of a pipe's end")
def test_a_parent_that_ends_before_its_child_looks_leaves_it_not_busy(make_file: Any) -> None:
    request = json.dumps({"do": "read", "path": str(make_file(name="hang"))}).encode() + b"\n"
    done = subprocess.run(  # the request lies in a pipe that is closed already
        [sys.executable, "-c", POISON, "1", "300", str(1 << 32)],
        input=request, stdout=subprocess.DEVNULL, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGIO


LOADING = """
import atexit, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hilum.imaging import child, children, load, scan
signal.signal(signal.SIGINT, signal.default_int_handler)
children._pool = children.Pool(2, child.Limits(seconds=2), ("-c", os.environ["POISON"]))
atexit.register(children._pool.close)
studies = scan([sys.argv[1]])
if sys.argv[2] == "threads":
    threads = ThreadPoolExecutor(2)
    jobs = [threads.submit(load, files) for files in studies]
print("loading", flush=True)
try:
    for k, files in enumerate(studies):
        jobs[k].result() if sys.argv[2] == "threads" else load(files)
except KeyboardInterrupt:
    if sys.argv[2] == "threads":
        threads.shutdown(wait=False, cancel_futures=True)
    print(*{child.process.pid for child in [*children._pool._idle, *children._pool._busy]})
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("how", ["one by one", "threads"])
def test_ctrl_c_in_a_load_of_many_films_leaves_no_child(make_file: Any, how: str) -> None:
    for k in range(30):
        path = make_file(name=f"films/{k}/hang")
    parent = subprocess.Popen(
        [sys.executable, "-c", LOADING, path.parents[1], how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "POISON": POISON},
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stdout.readline() == "loading\n"
    time.sleep(0.5)
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=30)  # two at a time, all 30 would take as long
    assert (parent.returncode, err) == (130, "")
    pids = [int(pid) for pid in out.split()]
    assert len(pids) == (2 if how == "threads" else 0)  # the one at work was ended at once
    assert until(lambda: all(map(gone, pids)))


def test_a_pool_that_was_closed_starts_no_child_again(pool: Pool, make_file: Any) -> None:
    path = make_file()
    pool.read(path)
    pool.close()
    assert error_of(pool, path).code is Code.DECODER_DIED
    assert not pool._idle
    assert not pool._busy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_children_of_its_own(make_file: Any) -> None:
    path = make_file()
    load_study([path])
    mine = children._pool
    assert mine is not None
    before = [child.process.pid for child in mine._idle]
    pid = os.fork()
    if pid == 0:
        ok = children._pool is None and load_study([path]).views[0].rows == 256
        if children._pool is not None:
            children._pool.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert load_study([path]).views[0].rows == 256
    assert [child.process.pid for child in mine._idle] == before


def test_a_script_without_main_guard_works(make_file: Any, tmp_path: Path) -> None:
    """As a notebook does: no guard, another folder, its own import path; nothing on stderr."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(film.__file__).parents[2])!r})\n"
        "from hilum.imaging import load_study\n"
        "print(load_study([sys.argv[1]]).views[0].rows)\n"
    )
    (tmp_path / "pydicom.py").write_text("raise SystemExit('imported from the current folder')")
    script.rename(tmp_path / "elsewhere.py")
    clean = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    folder = tmp_path / "lib"
    folder.mkdir()
    (tmp_path / "elsewhere.py").rename(folder / "script.py")
    make_file(name="a film.dcm")
    done = subprocess.run(
        [sys.executable, "-W", "always", folder / "script.py", "a film.dcm"],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("256\n", "")


def test_importing_hilum_starts_nothing_and_a_child_imports_no_torch(make_file: Any) -> None:
    script = (
        "import sys, hilum, hilum.imaging\n"
        "from hilum.imaging import children\n"
        "assert children._pool is None and 'pydicom' not in sys.modules\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, **path})
    spy = "import sys, numpy as np\nfrom hilum.imaging import film, worker\nreal = film.read\n"
    spy += "def read(path):\n    out = real(path)\n"
    spy += "    assert not {'torch', 'transformers', 'hilum.engines'} & set(sys.modules)\n"
    spy += "    return out\nfilm.read = read\nworker.main()\n"
    pool = Pool(1, program=("-c", spy))
    assert pool.read(make_file())[0].rows == 256
    pool.close()


@pytest.mark.parametrize("name", ["胸片 1.dcm", "line\nbreak", "quote'\"", b"\xff\xfe.dcm", "-x"])
def test_any_file_name_reaches_the_child(make_file: Any, tmp_path: Path, name: str | bytes) -> None:
    text = os.fsdecode(name)
    try:
        path = make_file().rename(tmp_path / text)
    except OSError:
        pytest.skip("this file system refuses the name")
    assert load_study([path]).views[0].path == str(path)


def test_relative_paths_follow_the_parent(
    make_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file(np.zeros((8, 8), np.uint16), name="a/film")
    make_file(np.zeros((9, 9), np.uint16), name="b/film")
    for folder, rows in (("a", 8), ("b", 9)):
        monkeypatch.chdir(tmp_path / folder)
        view = load_study(["film"]).views[0]
        assert (view.rows, view.path) == (rows, "film")


def test_without_posix_the_work_is_done_here(
    make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_posix", lambda: False)
    monkeypatch.setattr(children, "_shared", None)
    assert load_study([make_file()]).views[0].rows == 256
