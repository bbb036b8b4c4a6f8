"""Download of the NAB files that the job needs: pinned, checksummed, cached."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pooch
import requests
from rich.progress import Progress, TaskID

from training.errors import SourceError
from training.sources.nab import LABELS, WINDOWS, Nab

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
        If there is no checksum for the file, no way out (within `GIVE_UP_SECONDS`), or what came
        is not what was pinned.
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
        target.unlink(missing_ok=True)  # it is not what was pinned, or belongs to what is not
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
    """Tell whether a file and its labels are those that were pinned."""
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
    """Ask for the head of `url`, for `GIVE_UP_SECONDS` at most.

    The request's own time-out does not bound the look-up of the name, so it runs in a thread that
    is left behind if it is late.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            requests.head(url, timeout=GIVE_UP_SECONDS, allow_redirects=True).raise_for_status()
        except requests.RequestException:
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(GIVE_UP_SECONDS)
    return answered.is_set()


class ProgressBar:
    """What pooch asks of a progress bar, on a rich one."""

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
