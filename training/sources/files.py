"""Series in files: CSV with labels in JSON, and NAB's folder, on disk or downloaded.

NAB is the Numenta Anomaly Benchmark: Lavin and Ahmad, "Evaluating real-time anomaly detection
algorithms - the Numenta Anomaly Benchmark", ICMLA 2015. MIT licence. None of it is in this
repository; downloads are pinned, checked by their digest and cached.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pooch
import requests
from rich.progress import Progress, TaskID

from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import Series, ValueOutOfRangeError, check_value
from training import SourceError
from training.sources.series import LabelledSeries, label_windows, parse_time

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Integers

COLUMNS = ("timestamp", "value")


def read_csv_series(path: Path, labels_path: Path | None = None) -> LabelledSeries:
    """Read a series of one's own.

    Parameters
    ----------
    path
        CSV with a header and the columns `timestamp` (ISO 8601, UTC without an offset) and
        `value`.
    labels_path
        JSON: a list of times and of [first, last] windows, or NAB's form, an object of such
        lists by file name.

    Raises
    ------
    SourceError
        Naming the file and the line that is wrong.
    """
    series = read_readings(path)
    origin = f"CSV file {path.name}"
    if labels_path is None:
        return LabelledSeries(path.name, origin, series)
    labels, windows = read_labels(labels_path, path.name, series.times)
    return LabelledSeries(path.name, origin, series, labels, windows)


def read_readings(path: Path, *, skip_repeats: bool = False) -> Series:
    """Read the readings of a CSV file.

    Parameters
    ----------
    skip_repeats
        Leave out a reading that is not later than the one before, instead of refusing the file.

    Raises
    ------
    SourceError
        Naming the line that isn't a reading, or not later than the one before.
    """
    times: list[int] = []
    values: list[float] = []
    for line, text, time, value in read_rows(path):
        if times and time <= times[-1]:
            if skip_repeats:
                continue
            fault = "repeats the time of" if time == times[-1] else "is earlier than"
            raise SourceError(
                f"{path}: line {line}: {text} {fault} the reading before; sort the file and keep "
                "one reading a time"
            )
        times.append(time)
        values.append(value)
    return Series(np.array(times, np.int64), np.array(values, np.float64))


def read_rows(path: Path) -> Iterator[tuple[int, str, int, float]]:
    """Yield each row's line number, its time as written and in milliseconds, and its value.

    Raises
    ------
    SourceError
        If the file can't be read, or naming the line that isn't a reading.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise SourceError(f"{path}: line 1: the header must name {' and '.join(COLUMNS)}")
            for row in rows:
                time, value = read_row(row, f"{path}: line {rows.line_num}")
                yield rows.line_num, row["timestamp"] or "", time, value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error}") from error


def read_row(row: dict[str, str | None], where: str) -> tuple[int, float]:
    """Return one row's time in milliseconds and value, or raise `SourceError` saying where."""
    time = parse_time(row["timestamp"] or "", where)
    text = row["value"] or ""
    try:
        value = float(text)
        check_value(value)
    except ValueOutOfRangeError as error:
        raise SourceError(f"{where}: value {text!r}: {error}") from error
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise SourceError(f"{where}: value {text!r} is not a number; correct or delete the line")
    return time, value


def read_labels(path: Path, file_name: str, times: Integers) -> tuple[Integers, Integers]:
    """Read labels and windows of one series from a JSON file.

    Returns
    -------
    labels, windows : (k,) and (w, 2) int64
        A bare time is a label and gets a window of NAB's width; a [first, last] pair is a window,
        its middle the label.

    Raises
    ------
    SourceError
        If the file is not of that form.
    """
    content = label_entries(path, file_name)
    points = [parse_time(entry, str(path)) for entry in content if not isinstance(entry, list)]
    pairs = [[parse_time(end, str(path)) for end in pair] for pair in content if is_pair(pair)]
    if len(points) + len(pairs) != len(content):
        raise SourceError(f"{path}: a window is a pair of times: [first, last]")
    if any(first > last for first, last in pairs):
        raise SourceError(f"{path}: a window ends before it begins")
    for time in [*points, *chain(*pairs)]:
        if not times[0] <= time <= times[-1]:
            raise SourceError(f"{path}: {utc(time)} is not within the series; is its zone UTC?")
    labels = nearest(times, np.array(points, np.int64))
    drawn = np.array(pairs, np.int64).reshape(-1, 2)
    middles = nearest(times, drawn[:, 0] + (drawn[:, 1] - drawn[:, 0]) // 2)
    windows = np.concatenate([label_windows(labels, times), drawn])
    return np.unique(np.concatenate([labels, middles])), windows[np.argsort(windows[:, 0])]


def label_entries(path: Path, file_name: str) -> list[Any]:
    """Return the list of one series' labels and windows, unchecked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    if isinstance(content, dict):
        content = next((v for k, v in content.items() if k.split("/")[-1] == file_name), None)
    if not isinstance(content, list):
        raise SourceError(
            f"{path}: a list of times and [first, last] pairs is needed, or an object "
            f"with such a list under {file_name!r}"
        )
    return content


def is_pair(entry: Any) -> bool:
    """Return whether a label entry is a window."""
    return isinstance(entry, list) and len(entry) == 2


def nearest(times: Integers, wanted: Integers) -> Integers:
    """Return the time of the reading nearest to each wanted time."""
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    is_before_nearer = wanted - times[after - 1] < times[after] - wanted
    found: Integers = times[np.where(is_before_nearer, after - 1, after)]
    return found


BASELINE_FILE = "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv"
"""The series of the baseline experiment: CPU utilisation of an EC2 instance."""

LABELS = "labels/combined_labels.json"
WINDOWS = "labels/combined_windows.json"


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
            # four of its files repeat the hour in which daylight saving ends
            series=read_readings(path, skip_repeats=True),
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
