"""The command line: its help teaches, and its exit codes are those it says."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from commands.__main__ import command_line
from tests.support.command import command

NAMES = sorted(command_line().commands)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_shows_an_example_and_fits_80_columns(name: str) -> None:
    done = command(name, "--help", COLUMNS="80", TERMINAL_WIDTH="80")
    assert done.returncode == 0
    assert f"  ops-anomaly {name} " in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_each_command_is_listed_with_a_whole_sentence() -> None:
    text = command("--help", COLUMNS="80", TERMINAL_WIDTH="80").stdout
    listed = text.split("Commands:\n")[1]
    assert all(f"  {name} " in listed for name in NAMES)
    assert "..." not in listed


def test_the_version() -> None:
    assert command("--version").stdout == f"ops-anomaly {version('ops-anomaly')}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["publish", "no-such-folder", "--bucket", "b"], 1, "make one with: ops-anomaly train"),
        (["models", "Bad Name", "--bucket", "b"], 1, "Invalid model name"),
        (["models", "--no-such-option"], 2, "No such option"),
    ],
)
def test_an_error_is_a_message_and_an_exit_code(
    arguments: list[str], status: int, message: str
) -> None:
    done = command(*arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stdout == ""
