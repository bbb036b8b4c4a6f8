"""Reading a watch file, and what it stands for at the moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from registry.errors import InvalidWatchFileError
from registry.fleet import Watched, resolve
from registry.watch_file import WatchFile, parse_watch_file
from training.errors import SourceError
from training.sources.cloudwatch import asking_cloudwatch


def read_watch_file(path: Path) -> WatchFile:
    """Read a watch file written in YAML.

    Raises
    ------
    SourceError
        Naming what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    try:
        return parse_watch_file(content)
    except InvalidWatchFileError as error:
        raise SourceError(f"{path} is no watch file:\n{error}") from error


def resolve_watch_file(cloudwatch: Any, watch_file: WatchFile) -> list[Watched]:
    """Return every entry with its metrics.

    Raises
    ------
    SourceError
        If CloudWatch can't be asked.
    """
    with asking_cloudwatch():
        return resolve(cloudwatch, watch_file)
