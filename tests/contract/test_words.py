"""One vocabulary: words of the field rather than private metaphors, in code, messages and docs.

Run this file to see how often each word still occurs: `python tests/contract/test_words.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHER = "functions/ops_anomaly/watcher/"
NOT_CHARTS = ("README.md", "docs/", "functions/", "notebooks/", "tests/")


class Rule(NamedTuple):
    """Words not to use, what to say instead, where they do mean something, and where it holds."""

    words: str
    instead: str
    except_for: str = ""
    below: str | tuple[str, ...] = ""


# A rule in capitals is about constants only. Identifiers are split into words first:
# `first_look` and `FirstLook` both contain "look".
RULES = (
    Rule(
        "look|looks|looked|looking",
        "evaluate, evaluation",
        r"look\w*[ -](up|for|like|ahead|unusual)",
    ),
    Rule("turn|turns|turned", "shard job, evaluation", r"turn\w* (.* )?(on|off|into)|in turn"),
    Rule("door|doors", "gateway, entry point", r"front door"),
    Rule("surround|surrounds|surrounded|surroundings", "local stack", r"surrounding"),
    Rule("shelf|shelves", "checkpoint store"),
    Rule("go on|goes on|went on", "continue, resume"),
    Rule("notebook|notebooks", "versioned document", below="functions/"),
    Rule("memory", "state", r"in memory|memory (size|limit)", below=WATCHER),
    Rule("remember|remembers|remembered", "store, recent series"),
    Rule(
        "grid|grids",
        "periods",
        r"(axes|axis|plot|plt)\.grid|(axes|show|display:) grid|grid(\(|-template)",
    ),
    Rule("slot|slots", "periods", r"slots ?= ?true|__slots__"),
    Rule("course|courses", "incident state", r"of course"),
    Rule("over because", "close reason"),
    Rule("quiet", "recovery", r"--quiet|quiet=true", below=("functions/", "docs/", "tests/")),
    Rule("judge|judges|judged|judging|judgement|judgements", "evaluate, score"),
    Rule(
        "tell|tells|telling|told", "notify, say", r"tell\w* .*apart|told (apart|otherwise)|\.tell\("
    ),
    Rule("hear|hears|heard", "be notified"),
    Rule("notice|noticed|notices", "notification"),
    Rule("question|questions", "query"),
    Rule("answer|answers|answered|answering", "response, respond", r"not answer\w*"),
    Rule("cannot", "unavailable_because", below="docs/event"),
    Rule("children", "composite's alarms", "triggering children", below=WATCHER),
    Rule("past|pasts", "history, earlier", r"past incidents?"),
    Rule("asked", "query, queries", r"asked (for|to)", below="functions/"),
    Rule("onset|onsets", "first seasonal"),
    Rule(
        "bar|bars",
        "threshold",
        r"(progress|error) bars?|\.bar\(|bar (chart|column)",
        below=NOT_CHARTS,
    ),
    Rule("vigilance|vigilant", "alert state"),
    Rule("habituate|habituates|habituation|habituated", "adaptive threshold"),
    Rule("louder|loud", "boost"),
    Rule("pause|pauses|paused|pausing", "cooldown"),
    Rule("surprise|surprises|surprised|surprising", "surprisal, unusual"),
    Rule("weighed|contributions", "components"),
    Rule("nearest runs?|runs? of readings|runs? of \\d+", "subsequence"),
    Rule("silent for", "with_warm_up, season warm-up"),
    Rule("settling", "season warm-up", below="functions/ops_anomaly/detection/"),
    Rule(r"def follow|follow(?=\()|followed", "update", r"followed by", below="functions/"),
    Rule("foretell|foretells|foretold|foretelling", "predict"),
    Rule(
        "the seed|seed's (table|experiment)", "baseline experiment", r"the (random )?seed (of|for)"
    ),
    Rule("honest|honestly|honesty", "out of sample"),
    Rule("room|rooms", "package"),
    Rule("lie|lies|lay", "is stored, is", r"lies? (within|between|outside|beyond|after)"),
    Rule("at once", "immediately, in one call, at the same time", r"all at once"),
    Rule("by itself", "alone, on its own history"),
    Rule("(is|was|are) (over|unusual|ordinary) since", "has been ... since"),
    Rule("MOST|LEAST|FEW|CELLS", "MAX_ or MIN_ and what is counted"),
)

CHECKED = {"", ".ipynb", ".json", ".j2", ".md", ".py", ".toml", ".yaml", ".yml"}
SKIPPED = re.compile(r"^LICENSE$|^\.|^events/|/test_words\.py$")


class Finding(NamedTuple):
    """A word that should not be there."""

    rule: Rule
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text.strip()[:90]}  [{self.rule.instead}]"


@cache
def text_files() -> list[Path]:
    """Return the project's text files, those not yet committed included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [Path(line) for line in listed.stdout.splitlines() if not SKIPPED.search(line)]
    return sorted(path for path in paths if path.suffix in CHECKED and (ROOT / path).is_file())


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield a file's lines with their numbers; of a Jupyter notebook, what a person wrote."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    yield from enumerate(text.splitlines(), start=1)


def split_identifiers(line: str) -> str:
    """Return a line with the words of each identifier apart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", line.replace("_", " "))


@cache
def lines_of_words() -> list[tuple[Path, int, str, str]]:
    """Return every line: its file, its number, and the line as written and split."""
    return [
        (path, number, line, split_identifiers(line))
        for path in text_files()
        for number, line in numbered_lines(path)
    ]


def findings(rule: Rule) -> Iterator[Finding]:
    """Yield every place where a rule's words occur outside of its exceptions."""
    flags = re.NOFLAG if rule.words.isupper() else re.IGNORECASE
    words = re.compile(rf"\b(?:{rule.words})\b", flags)
    allowed = re.compile(rule.except_for or r"(?!)", re.IGNORECASE)
    for path, number, line, split in lines_of_words():
        if path.as_posix().startswith(rule.below) and words.search(allowed.sub("", split)):
            yield Finding(rule, path, number, line)


def test_words_are_found_inside_identifiers() -> None:
    assert split_identifiers("first_look = TheFirstLook") == "first look = The First Look"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.words.split("|")[0])
def test_the_words_are_the_fields(rule: Rule) -> None:
    found = [str(finding) for finding in findings(rule)]
    assert not found, f"{len(found)} lines to reword:\n" + "\n".join(found)


if __name__ == "__main__":
    counts = {rule: sum(1 for _ in findings(rule)) for rule in RULES}
    for rule, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:5}  {rule.words}  ->  {rule.instead}")  # noqa: T201
