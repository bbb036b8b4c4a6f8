"""The documentation: links resolve, and the commands that it shows exist."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_README_LINES = 150

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
CODE = re.compile(r"^```console\n(.*?)^```|`([^`\n]+)`", re.DOTALL | re.MULTILINE)


def named(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield what a pattern finds in the code of each page, with the page's name."""
    for page in PAGES:
        for block, inline in CODE.findall(page.read_text(encoding="utf-8")):
            for name in re.findall(pattern, block or inline):
                yield page.name, name


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_the_readme_is_for_ten_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), f"{path} is missing"
        assert not anchor or anchor in anchors(target), f"{path} has no heading {anchor}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_notebooks_resolve(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert [link for link, _ in LINK.findall(text) if not (path.parent / link).exists()] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / path).resolve()
        for page in PAGES
        for path, _ in LINK.findall(page.read_text(encoding="utf-8"))
        if path
    }
    assert {page.name for page in PAGES if page not in linked} <= {"README.md"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert [found for found in named(r"\bmake ([a-z][\w-]*)") if found[1] not in targets] == []


def test_modules_that_are_run_exist() -> None:
    for page, module in named(r"python -m ([\w.]+)"):
        path = ROOT / module.replace(".", "/")
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), (page, module)


def test_commands_and_their_options_exist() -> None:
    from commands.__main__ import command_line

    commands = command_line().commands
    options = {
        name: set(chain.from_iterable(option.opts for option in command.params))
        for name, command in commands.items()
    }
    for page, line in named(r"ops-anomaly ((?!demo|dev|prod)[a-z]+ (?:[^\n]|\\\n)*)"):
        name, *words = line.split("#")[0].split()
        assert name in options, (page, line)
        assert {word for word in words if word.startswith("--")} <= options[name], (page, line)


def test_parameters_are_those_of_the_template() -> None:
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Z].*?`) \|", table, re.MULTILINE)
    names = re.findall(r"`(\w+)`", " ".join(rows))
    assert [name for name in names if f"\n  {name}:\n" not in template] == []


class TestSite:
    """What `make docs` builds, as far as it can be seen without MkDocs."""

    @pytest.fixture
    def site(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "site.py")
        assert spec
        assert spec.loader
        site = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(site)
        return site

    def test_every_page_is_in_the_navigation(self, site: ModuleType) -> None:
        nav = navigated(site.expanded(site_config()["nav"]))
        docs = ROOT / "docs"
        pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
        schemas = {path.relative_to(docs).with_suffix(".md").as_posix() for path in json_files()}
        assert set(nav) == pages | schemas | set(site.ROOT_PAGES.values())
        assert len(nav) == len(set(nav))

    def test_examples_run(self, site: ModuleType) -> None:
        outcome = doctest.testmod(site)
        assert (outcome.failed, outcome.attempted) == (0, 3)

    def test_links_between_folders_and_to_the_root(self, site: ModuleType) -> None:
        page = "[a](../architecture.md#packages) [b](../../README.md) ![c](../bench.png) [d](#here)"
        assert site.site_links(page, "decisions/0001-msgspec.md", None) == (
            "[a](../architecture.md#packages) [b](../index.md) ![c](../bench.png) [d](#here)"
        )

    def test_code_and_the_web_are_left_alone(self, site: ModuleType) -> None:
        page = "[a](https://example.com/x.md)\n```json\n[b](LICENSE)\n```\n[`c`](LICENSE)"
        assert site.site_links(page, "index.md", None) == page.replace("[`c`](LICENSE)", "`c`")

    def test_a_json_file_is_shown_and_can_be_downloaded(self, site: ModuleType) -> None:
        page = site.json_page("policies/read.json")
        assert page.startswith("# read.json\n\n[Download](read.json)\n\n```json\n{\n")


def json_files() -> list[Path]:
    return sorted((ROOT / "docs").rglob("*.json"))


def site_config() -> dict[str, Any]:
    """Return mkdocs.yml, with nothing in place of what only MkDocs can load."""

    class Loader(yaml.SafeLoader):
        """A loader that knows every tag."""

    Loader.add_multi_constructor("!", lambda *_: None)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.load(text, Loader)
    return config


def navigated(nav: Any) -> list[str]:
    """Return the pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in navigated(part)]
