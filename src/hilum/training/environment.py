"""Virtual environments of their own, for tools whose pins clash with the rest of Hilum.

They run as programs, offline; Hilum hands them files and takes files back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.codes import Code, HilumError

_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Environment:
    """What a tool's environment holds: ``packages``, without the ``unwanted`` that come along.

    ``tool``: a file in the environment's ``bin`` that is there once it is made.
    """

    packages: tuple[str, ...]
    tool: str
    unwanted: tuple[str, ...] = ()

    def commands(self, env: Path) -> list[list[str]]:
        """The commands that make it; they need a network or a mirror."""
        python = str(env / "bin" / "python")
        made = [
            [sys.executable, "-m", "venv", str(env)],
            [python, "-m", "pip", "install", *self.packages],
        ]
        if self.unwanted:
            made.append([python, "-m", "pip", "uninstall", "-y", *self.unwanted])
        return made

    def install(self, env: Path) -> None:
        """Make it; raises ``extra_missing`` with the commands if one fails."""
        for command in self.commands(env):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise self._missing(env)

    def require(self, env: Path) -> None:
        """Raises ``extra_missing`` with the commands where it is not there."""
        if not (env / "bin" / self.tool).is_file():
            raise self._missing(env)

    def _missing(self, env: Path) -> HilumError:
        commands = " && ".join(" ".join(c) for c in self.commands(env))
        return HilumError(Code.EXTRA_MISSING, env, f"make its environment: {commands}")


def run(command: Sequence[str], work: Path, path: Path | None = None) -> str:
    """Run a program offline in the folder ``work``; its last words where it failed, else nothing.

    ``path``: where it looks for modules first. On a terminal the line that it is at is shown.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _OURS}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    said = ""
    with subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        cwd=work,
    ) as process:
        for line in process.stderr or ():  # a bar's returns to the line's start count as ends
            said = line.strip() or said
            _show(said)
    _show("")
    return (said or "no message")[:200] if process.returncode else ""


def _show(line: str) -> None:
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:width]:{width}}", end="" if line else "\r", file=sys.stderr, flush=True)
