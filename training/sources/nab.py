"""NAB, the Numenta Anomaly Benchmark: its folder, on disk or downloaded.

Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015. MIT licence. None of it is in this repository; downloads are pinned, checked
by their digest and cached.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ops_anomaly.detection.types import Series
from training import SourceError
from training.sources.files import DEFAULTS, parse_rows, time_column, value_column
from training.sources.series import LabelledSeries, parse_time
from training.sources.tables import read_table

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ops_anomaly.detection.types import Floats, Integers, Mask

BASELINE_FILE = "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv"
"""The series of the baseline experiment: CPU utilisation of an EC2 instance."""

LABELS = "labels/combined_labels.json"
WINDOWS = "labels/combined_windows.json"


class NabRows(NamedTuple):
    """The n rows of a file of NAB: times as written and in milliseconds, (n,), and values, (n,)."""

    texts: list[str]
    times: Integers
    values: Floats

    @property
    def is_later(self) -> Mask:
        """Which rows are later than all before: four files repeat an hour as clocks go back."""
        later = np.ones(len(self.times), bool)
        later[1:] = self.times[1:] > np.maximum.accumulate(self.times)[:-1]
        return later

    @property
    def series(self) -> Series:
        """The rows that are later than all before."""
        return Series(self.times, self.values)[self.is_later]


def read_rows(path: Path) -> NabRows:
    """Read a file of NAB: CSV with the columns timestamp, in UTC, and value.

    Raises
    ------
    SourceError
        If it can't be read, or listing the rows that are wrong.
    """
    try:
        table = read_table(path)
        time = time_column(table, "timestamp")
        times, values = parse_rows(table, time, value_column(table, time, "value"), DEFAULTS)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    return NabRows(table.column(time), times.milliseconds, values.numbers)


@dataclass(frozen=True)
class Nab:
    """A folder laid out as NAB is: `data/` and `labels/`."""

    root: Path

    def __post_init__(self) -> None:
        for part in ("data", LABELS, WINDOWS):
            if not (self.root / part).exists():
                raise SourceError(
                    f"{self.root} is not laid out as NAB is: {part} is missing. Point NAB_ROOT, "
                    "or the command's option, to the folder that holds data/ and labels/"
                )

    def series(self, file: str = BASELINE_FILE) -> LabelledSeries:
        """Read one file with its labels and windows.

        Parameters
        ----------
        file
            Path below `data/`, such as "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv".

        Raises
        ------
        SourceError
            If the file is not there, or the label files don't list it.
        """
        path = self.root / "data" / file
        if not path.is_file():
            raise SourceError(f"NAB at {self.root} has no file {file}")
        labels, windows = self.marks(file)
        where = f"NAB's labels for {file}"
        return LabelledSeries(
            name=path.stem,
            origin=f"NAB {file}",
            series=read_rows(path).series,
            labels=np.array([parse_time(label, where) for label in labels], np.int64),
            windows=np.array(
                [[parse_time(end, where) for end in window] for window in windows], np.int64
            ).reshape(-1, 2),
        )

    def marks(self, file: str) -> tuple[list[str], list[list[str]]]:
        """Return the labels and the windows of a file, as NAB writes them."""
        try:
            labels = json.loads((self.root / LABELS).read_text(encoding="utf-8"))
            windows = json.loads((self.root / WINDOWS).read_text(encoding="utf-8"))
            return labels[file], windows[file]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"NAB at {self.root} has no labels for {file}: {error!r}") from error


COMMIT = "ea702d75cc2258d9d7dd35ca8e5e2539d71f3140"
URL = f"https://raw.githubusercontent.com/numenta/NAB/{COMMIT}/"
GIVE_UP_SECONDS = 8.0

# file -> SHA-256 of the CSV file, and of the JSON of its [labels, windows]: the label files as a
# whole cover all of NAB, of which only these series are used here.
CHECKSUMS = {
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv": (
        "ab446fbd8b9f37507eb2fdb06315826d8daeef02e241133ce06e0ee571ba53d9",
        "6c8004fe680461a63282b52b95a74a3eb174bd006fc96814660523a7754ddd7d",
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv": (
        "01613e6f632d067f11a5dfd40a188b0789752b388d9bc77a398bd06333878a76",
        "17f086ec739dfb439b2e1979ccd0024648c2749e0a18119cd6da85eb52264676",
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2.csv": (
        "d768419037c9db269343822957314f57ee21a7d9a4d41df2add0d1ba45ba84de",
        "66c64cfd91d2c3db1718fe1a407764ef21c2ce7cac365b7206f802a85c960cfe",
    ),
    "realAWSCloudwatch/ec2_cpu_utilization_c6585a.csv": (
        "d936cea74682ed43ac96b778352d7de294c0b0c168f4a7e6817162346cdb28c1",
        "a683096011db3975a1e401e33b0047d1f2677a11efe85ef12806f016ae039795",
    ),
}


def cache_root() -> Path:
    """Return where downloaded files are kept, laid out as NAB is."""
    import pooch

    return Path(pooch.os_cache("ops-anomaly")) / "nab" / COMMIT


def cached_nab(file: str) -> Nab | None:
    """Return NAB from the cache if `file` was downloaded before, intact."""
    root = cache_root()
    if not all((root / part).is_file() for part in (f"data/{file}", LABELS, WINDOWS)):
        return None
    nab = Nab(root)
    return nab if is_intact(nab, file) else None


def download_nab(file: str, progress: Progress) -> Nab:
    """Download `file` and the labels into the cache.

    Raises
    ------
    SourceError
        If there is no checksum for the file, no connection (within `GIVE_UP_SECONDS`), or the
        download is not the pinned one.
    """
    import pooch

    if file not in CHECKSUMS:
        raise SourceError(
            f"{file} can't be downloaded, as there is no checksum for it here; point NAB_ROOT to a "
            "copy of NAB"
        )
    if not is_reachable(URL + LABELS):
        raise SourceError("the download of NAB is out of reach from here")
    root = cache_root()
    for part in (f"data/{file}", LABELS, WINDOWS):
        target = root / part
        target.unlink(missing_ok=True)  # damaged, or of another download
        bar = ProgressBar(progress, progress.add_task(f"NAB {part}", total=None))
        try:
            pooch.retrieve(
                URL + part,
                known_hash=CHECKSUMS[file][0] if part.startswith("data/") else None,
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(progressbar=bar, timeout=GIVE_UP_SECONDS),
            )
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            raise SourceError(f"the download of NAB failed: {error}") from error
    nab = Nab(root)
    if not is_intact(nab, file):
        raise SourceError(f"the downloaded labels of {file} are not those that were pinned")
    return nab


def is_intact(nab: Nab, file: str) -> bool:
    """Return whether a file and its labels are those that were pinned."""
    csv_digest, labels_digest = CHECKSUMS.get(file, ("", ""))
    try:
        marks = json.dumps(list(nab.marks(file))).encode()
    except SourceError:
        return False
    data = (nab.root / "data" / file).read_bytes()
    return (
        hashlib.sha256(data).hexdigest() == csv_digest
        and hashlib.sha256(marks).hexdigest() == labels_digest
    )


def is_reachable(url: str) -> bool:
    """Request the head of `url`, for `GIVE_UP_SECONDS` at most.

    The request's own time-out doesn't bound the look-up of the name, so it runs in a thread that
    is left behind if it is late.
    """
    import requests

    succeeded = threading.Event()

    def request() -> None:
        try:
            requests.head(url, timeout=GIVE_UP_SECONDS, allow_redirects=True).raise_for_status()
        except requests.RequestException:
            return
        succeeded.set()

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(GIVE_UP_SECONDS)
    return succeeded.is_set()


class ProgressBar:
    """What pooch needs of a progress bar, on a rich one."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task
        self.total: float | None = None

    def update(self, advance: int) -> None:
        """Advance by so many bytes."""
        self.progress.update(self.task, advance=advance, total=self.total)

    def reset(self) -> None:
        """Start again at zero, as pooch does before it fills the bar."""
        self.progress.reset(self.task, total=self.total)

    def close(self) -> None:
        """Do nothing: the display is closed by its owner."""
