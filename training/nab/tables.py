"""The tables of a judgement, as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from rich import box
from rich.table import Table

from training.candidates.names import NOTHING
from training.nab.judgement import Judgement
from training.nab.profiles import PROFILES
from training.nab.published import SCOREBOARD

PROFILE_TITLES = {
    "standard": "standard",
    "reward_low_FP_rate": "low FP",
    "reward_low_FN_rate": "low FN",
}


def by_detector(judgements: Sequence[Judgement], profile: str) -> dict[str, list[Judgement]]:
    """Return the judgements of one profile, a list of seeds for each detector."""
    found: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.profile == profile:
            found.setdefault(judgement.detector, []).append(judgement)
    return found


def profiles_of(judgements: Sequence[Judgement]) -> list[str]:
    """Return the profiles judged by, in the order of the rules."""
    return [name for name in PROFILES if any(each.profile == name for each in judgements)]


def totals_table(judgements: Sequence[Judgement], published: dict[str, dict[str, float]]) -> Table:
    """Return totals by profile: those run here, those published on the same files, the board."""
    profiles = profiles_of(judgements)
    titles = (PROFILE_TITLES[name] for name in profiles)
    table = new_table("NAB", "detector", "on which files", *titles, "threshold")
    for detector in dict.fromkeys(judgement.detector for judgement in judgements):
        runs = {name: by_detector(judgements, name)[detector] for name in profiles}
        seeds = len(runs[profiles[0]])
        table.add_row(
            f"[bold]{detector}[/bold]",
            "these" + (f", {seeds} seeds" if seeds > 1 else ""),
            *(f"{mean(each.total for each in runs[name]):.1f}" for name in profiles),
            f"{mean(each.threshold for each in runs[profiles[0]]):.3g}",
        )
    table.add_section()
    for detector, totals in published.items():
        cells = (f"{totals[name]:.1f}" if name in totals else NOTHING for name in profiles)
        table.add_row(detector, "published, same", *cells, "")
    table.add_section()
    position = {name: number for number, name in enumerate(PROFILES)}
    for detector, scores in SCOREBOARD.items():
        cells = (f"{scores[position[name]]:.1f}" for name in profiles)
        table.add_row(detector, "published, all 58", *cells, "")
    return table


def categories_table(judgements: Sequence[Judgement], profile: str) -> Table:
    """Return one profile's totals by category, means over seeds."""
    found = by_detector(judgements, profile)
    table = new_table(f"By category, {PROFILE_TITLES[profile]} profile", "category", *found)
    for category in next(iter(found.values()))[0].categories:
        cells = []
        for seeds in found.values():
            totals = [each.categories[category] for each in seeds]
            known = [total for total in totals if total is not None]
            cells.append(f"{mean(known):.1f}" if known else NOTHING)
        table.add_row(category, *cells)
    return table


def files_table(judgements: Sequence[Judgement], profile: str) -> Table:
    """Return the files of the first detector, the costliest first: means over seeds."""
    detector, runs = next(iter(by_detector(judgements, profile).items()))
    table = new_table(
        f"By file, {detector}, {PROFILE_TITLES[profile]} profile",
        "file",
        "windows",
        "found",
        "false alarms",
        "score",
        "points lost",
    )
    for of_seeds in sorted(
        zip(*(run.files for run in runs), strict=True),
        key=lambda of_seeds: -mean(each.lost for each in of_seeds),
    ):
        table.add_row(
            of_seeds[0].file.split("/")[1].removesuffix(".csv"),
            str(of_seeds[0].windows),
            f"{mean(each.windows_found for each in of_seeds):.3g}",
            f"{mean(each.false_alarms for each in of_seeds):.3g}",
            f"{mean(each.score for each in of_seeds):.2f}",
            f"{mean(each.lost for each in of_seeds):.2f}",
        )
    return table


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table, the first column to the left, numbers to the right."""
    table = Table(
        title=f"[bold]{title}[/bold]",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table
