"""In processes of their own: what is imported already says nothing of how it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = "sum(each['collections'] for each in gc.get_stats())"
IMPORTED = "before = " + COUNT + "; need_torch(); after = " + COUNT
BEGIN = "import gc, sys; from hilum.models.libraries import need_torch; "


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_collected_while_it_imports_and_all_as_before_after_it() -> None:
    said = run(IMPORTED + "; print(after - before, gc.isenabled(), gc.get_freeze_count())")
    assert said == "0 True 0"


def test_what_came_is_old_and_is_not_gone_through_with_the_young() -> None:
    said = run(
        IMPORTED + "; young = len(gc.get_objects(0)) + len(gc.get_objects(1));"
        " print(young < len(gc.get_objects(2)) / 10)"
    )
    assert said == "True"


def test_a_collector_that_was_off_stays_off() -> None:
    assert run("gc.disable(); need_torch(); print(gc.isenabled())") == "False"


def test_what_a_caller_has_frozen_stays_frozen() -> None:
    said = run(
        "gc.freeze(); n = gc.get_freeze_count(); need_torch(); "
        "print(gc.get_freeze_count() > 0.9 * n, gc.isenabled())"
    )
    assert said == "True True"


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_one_of_both_the_collector_goes_on(module: str) -> None:
    said = run(
        f"sys.modules[{module!r}] = None\n"
        "try: need_torch()\n"
        "except Exception as error: print(error.code.value, gc.isenabled())"
    )
    assert said == "extra_missing True"
