"""What MkDocs needs to make a site of files that are written to be read in the repository.

The README is its first page, other pages of the root come along, and each JSON file in docs gets
a page that shows it. Links to other files of the repository lead to where it is hosted, which the
environment says (`REPOSITORY_URL`); without it they are text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the repository's root, and where the site has them."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Expand the navigation's wildcards, so that a new decision or policy is in it."""
    config.nav = expanded(config.nav)
    return config


def expanded(nav: Any) -> Any:
    """Return a part of the navigation with the pages that each wildcard stands for.

    Examples
    --------
    >>> expanded([{"Policies": ["events.md", "policies/p*.json"]}])
    [{'Policies': ['events.md', 'policies/publish.md']}]
    """
    match nav:
        case dict():
            return {title: expanded(part) for title, part in nav.items()}
        case list():
            return [page for part in nav for page in pages(part)]
    return nav


def pages(entry: Any) -> list[Any]:
    """Return what one entry of the navigation stands for."""
    if not (isinstance(entry, str) and "*" in entry):
        return [expanded(entry)]
    found = sorted((ROOT / "docs").glob(entry))
    return [path.relative_to(ROOT / "docs").with_suffix(".md").as_posix() for path in found]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and a page for each JSON file."""
    from mkdocs.structure.files import File

    for source, target in ROOT_PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    for path in [file.src_uri for file in files if file.src_uri.endswith(".json")]:
        target = path.removesuffix("json") + "md"
        files.append(File.generated(config, target, content=json_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page's links for the site."""
    return site_links(markdown, page.file.src_uri, config.repo_url)


def json_page(path: str) -> str:
    """Return the page of a JSON file, by its path in docs."""
    name = posixpath.basename(path)
    text = (ROOT / "docs" / path).read_text(encoding="utf-8")
    return f"# {name}\n\n[Download]({name})\n\n```json\n{text.rstrip()}\n```\n"


def site_links(markdown: str, page: str, repository_url: str | None) -> str:
    """Return a page's text with the links that the site needs.

    Parameters
    ----------
    markdown
        As the file has it; code blocks are left alone.
    page
        The page's path in the site, such as `decisions/README.md`.
    repository_url
        Where the repository is hosted.

    Examples
    --------
    >>> site_links("[a](docs/events.md#x) [b](LICENSE)", "index.md", None)
    '[a](events.md#x) b'
    >>> site_links("[a](../README.md) [b](../functions)", "events.md", "https://example.com/x")
    '[a](index.md) [b](https://example.com/x/blob/HEAD/functions)'
    """
    sources = {target: source for source, target in ROOT_PAGES.items()}
    folder = posixpath.dirname(sources.get(page, f"docs/{page}"))

    def rewritten(link: re.Match[str]) -> str:
        image, text, path, anchor = link.groups(default="")
        target = posixpath.normpath(posixpath.join(folder, path))
        if target in ROOT_PAGES or target.startswith("docs/"):
            there = ROOT_PAGES.get(target) or target.removeprefix("docs/")
            relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
            return f"{image}[{text}]({relative}{anchor})"
        if repository_url:
            return f"[{text}]({repository_url.rstrip('/')}/blob/HEAD/{target}{anchor})"
        return text

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(rewritten, part) for part in parts)
