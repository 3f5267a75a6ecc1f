"""The ``hilum`` command: its verbs, and what every verb does when it fails.

A verb's module imports nothing heavy at its top, so that ``hilum --help`` stays quick.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from hilum import __version__
from hilum.cli.audit import audit
from hilum.cli.bench import bench
from hilum.cli.calibrate import calibrate
from hilum.cli.chat import chat
from hilum.cli.evaluate import evaluate
from hilum.cli.label import label
from hilum.cli.merge import merge
from hilum.cli.models import models
from hilum.cli.phantom import phantom
from hilum.cli.prepare import prepare
from hilum.cli.preview import preview
from hilum.cli.quantize import quantize
from hilum.cli.read import read
from hilum.cli.schema import schema
from hilum.cli.serve import keys, serve
from hilum.cli.serve_vllm import serve_vllm
from hilum.cli.train import train
from hilum.cli.translate import translate
from hilum.codes import Code, HilumError

FAILED = 4
MISUSED = 2
INTERRUPTED = 130
READER_GONE = 1  # whoever read our output has closed the pipe
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PACKAGE = Path(__file__).parents[1]

verbs = typer.Typer(
    name="hilum",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    read,
    chat,
    label,
    audit,
    translate,
    phantom,
    prepare,
    preview,
    train,
    merge,
    evaluate,
    calibrate,
    quantize,
    bench,
    serve,
    schema,
):
    verbs.command()(verb)
verbs.command("serve-vllm")(serve_vllm)
verbs.add_typer(models)
verbs.add_typer(keys, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hilum {__version__}")
        raise typer.Exit


@verbs.callback()
def _hilum(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Chest radiographs to draft reports with calibrated probabilities, in English and Chinese.

    Research use only; never a diagnosis on its own.
    """


def app() -> None:
    """Run the command line and leave with its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    code = run()
    if code == INTERRUPTED or "torch" in sys.modules:
        _leave(code)
    sys.exit(code)


_interrupted = threading.Event()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """As Python's own, but noted: a library may make an error of its own of the interrupt."""
    _interrupted.set()
    raise KeyboardInterrupt


def _leave(code: int) -> NoReturn:
    """Leave at once: taking torch apart at the interpreter's end takes most of a second.

    What was registered to be done at the end is done; a film that a thread is still loading is
    not waited for, and a second Ctrl-C changes nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):  # said already, or nobody reads it
        sys.stdout.flush()
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; a failure is one line on stderr. Returns the exit code."""
    try:
        result = verbs(
            args=None if arguments is None else list(arguments),
            prog_name="hilum",
            standalone_mode=False,
        )
        print(end="", flush=True)
    except HilumError as error:
        return _fail(error)
    except typer.TyperException as error:
        return _misuse(error)
    except (typer.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # Typer takes any EOFError for Ctrl-D
            return _defect(error.__cause__)
        result = INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return READER_GONE
    except Exception as error:
        if not _interrupted.is_set():
            return _defect(error)
        result = INTERRUPTED
    if result == INTERRUPTED:  # which is also what Typer makes of Ctrl-C
        _say("interrupted")
    return result if isinstance(result, int) else 0


def _fail(error: HilumError) -> int:
    _say(error.line("en"))
    return MISUSED if error.code is Code.OPTION_INVALID else FAILED


def _misuse(error: typer.TyperException) -> int:
    """An unknown verb or option, or a value that does not fit."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "hilum"
    message = error.format_message().strip().rstrip(".")
    if not message:  # `hilum` alone has printed its help
        return MISUSED
    return _fail(HilumError(Code.OPTION_INVALID, command, f"{message}; see {command} --help"))


def _defect(error: BaseException) -> int:
    """Say where it broke, and nothing of the message: it may hold a patient's data."""
    debug = os.environ.get("HILUM_DEBUG", "0") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno in FULL:
        _forget_output()
        reason = os.strerror(error.errno).lower()
        return _fail(HilumError(Code.OUTPUT_UNWRITABLE, error.filename or "", reason))
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    frame = (inside or frames)[-1]
    place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    hint = "see above" if debug else "HILUM_DEBUG=1 shows more"
    return _fail(HilumError(Code.INTERNAL_ERROR, detail=f"{place}, version {__version__}; {hint}"))


def _say(text: str) -> None:
    """One line on stderr, whatever is in it: a file's name may hold a line break or an escape."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    print(line, file=sys.stderr, flush=True)


def _forget_output() -> None:
    """Drop what is still buffered, so that the interpreter does not complain at its end."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    app()
