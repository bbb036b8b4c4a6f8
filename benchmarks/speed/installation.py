"""What is measured: packages and libraries, installed once and kept, and a bucket with models.

Run as a module, it serves an empty bucket, prints its URL, and ends when its input does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

import joblib
import numpy as np
from uv import find_uv_bin

from benchmarks.speed import BenchmarkError, MissingError
from local.stack import BUCKET, CREDENTIALS, local_bucket, local_client
from ops_anomaly.aws.objects import CREATED_METADATA, DIGEST_METADATA, model_key
from ops_anomaly.detection.artifact import digest, pack
from ops_anomaly.detection.types import Detector
from training.candidates.contextual import fit_contextual
from training.candidates.value_forest import fit_value_forest
from training.sources import simulate_ec2_cpu

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".venv-bench"
TUTORIAL = ROOT / "benchmarks/speed/tutorial"
TUTORIAL_REQUIREMENTS = TUTORIAL / "requirements.txt"
REQUIREMENTS = ROOT / "benchmarks/speed/requirements.txt"
RUNTIME = "awslambdaric==4.2.2"
BOTO3 = f"boto3=={version('boto3')}"
UV = find_uv_bin()
UNREACHABLE = re.compile(r"Failed to fetch|error sending request|dns error|Connection refused")

# uname -m -> the Lambda's name for it
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
PLATFORMS = {"x86_64": "x86_64-manylinux_2_34", "arm64": "aarch64-manylinux_2_34"}

OUR_LIBRARIES = ("aws-lambda-powertools", "msgspec", "numpy", "obstore", "safetensors")
TUTORIAL_LIBRARIES = ("aws-lambda-powertools", "boto3", "numpy", "pandas", "scikit-learn")
PEER_LIBRARIES = ("fastapi", "onnxruntime", "river", "scikit-learn", "skl2onnx", "treelite")
NETWORK_LIBRARIES = ("jax", "keras", "torch")

VALUE_FOREST, CONTEXTUAL = "value-forest", "contextual"
ESTIMATOR, NAMED_ESTIMATOR = "forest.joblib", "named-forest.joblib"
"""The same forest by scikit-learn, fitted on an array, and on pandas' frame of one column."""

CREATED = "2026-01-01T00:00:00+00:00"
FITTED_ON = 2_016
SEED = 42


@dataclass(frozen=True)
class Size:
    """Bytes of a folder's files, and of the archive that would be uploaded."""

    unzipped: int
    zipped: int


def run(*command: str | Path) -> None:
    """Run a command; without the package index, what it installs is missing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = (done.stdout + done.stderr).strip()
    if done.returncode:
        kind = MissingError if UNREACHABLE.search(output) else BenchmarkError
        raise kind(f"{Path(command[0]).name} failed: {output[-1000:]}")


def kept(name: str, made_from: Iterable[str | bytes], make: Callable[[Path], None]) -> Path:
    """Return a folder made earlier from the same, or make it, in place of others of its name.

    How long that took is written beside it.
    """
    digest = hashlib.sha256()
    for part in made_from:
        digest.update(part.encode() if isinstance(part, str) else part)
    folder = KEPT / f"{name}-{digest.hexdigest()[:16]}"
    record = folder.with_suffix(".json")
    if record.exists():
        return folder
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n")
    for old in [*KEPT.glob(f"{name}-{'?' * 16}"), *KEPT.glob(f"{name}-{'?' * 16}.json")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    began = time.perf_counter()
    make(folder)
    record.write_text(json.dumps({"made": time.time(), "seconds": time.perf_counter() - began}))
    return folder


def seconds_to_make(since: float = 0.0) -> float:
    """Return how long it took to make what is kept, or the part of it made since a time."""
    records = [json.loads(path.read_text()) for path in KEPT.glob("*.json")]
    return float(sum(each["seconds"] for each in records if each["made"] >= since))


def package_size(folder: Path) -> Size:
    """Return how large a package is; it is measured once."""
    record = folder.with_suffix(".json")
    known: dict[str, int] = json.loads(record.read_text())
    if "zipped" not in known:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        with TemporaryFile() as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in files:
                    packed.write(file, file.relative_to(folder))
            known["zipped"] = archive.tell()
        known["unzipped"] = sum(file.stat().st_size for file in files)
        record.write_text(json.dumps(known))
    return Size(known["unzipped"], known["zipped"])


def files_below(folder: Path) -> Iterable[str | bytes]:
    """Yield names and contents of the sources below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
            yield str(path.relative_to(folder))
            yield path.read_bytes()


@dataclass(frozen=True)
class Installation:
    """Everything installed for one Python: 3.13, as the Lambda has it."""

    python: Path

    @classmethod
    def find(cls) -> Installation:
        """Find Python 3.13 as the package's build does.

        Raises
        ------
        MissingError
            If there is none.
        """
        done = subprocess.run(
            [UV, "python", "find", "3.13", "--no-python-downloads"],
            env=os.environ | {"PYENV_VERSION": "3.13"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MissingError("no Python 3.13 was found here")
        return cls(Path(done.stdout.strip()))

    @property
    def architecture(self) -> str:
        """Lambda's name for this machine's; raises `MissingError` where it has none."""
        if platform.system() != "Linux" or platform.machine() not in ARCHITECTURES:
            raise MissingError("the package's wheels are for Linux on x86_64 or arm64")
        return ARCHITECTURES[platform.machine()]

    def python_of_peers(self) -> Path:
        """Return a Python that has the libraries of the bench's requirements."""

        def make(folder: Path) -> None:
            run(UV, "venv", "--quiet", "--python", self.python, folder)
            python = str(folder / "bin/python")
            run(*self._pip, "--compile-bytecode", "--python", python, "-r", REQUIREMENTS)

        made_from = [str(self.python), REQUIREMENTS.read_text()]
        return kept("libraries", made_from, make) / "bin/python"

    def runtime(self) -> Path:
        """Return what Lambda's image holds: its interface client and boto3, with bytecode."""

        def make(folder: Path) -> None:
            run(*self._pip, "--python", self.python, "--target", folder, RUNTIME, BOTO3)
            self._compile(folder)

        return kept("runtime", [str(self.python), RUNTIME, BOTO3], make)

    def peer(self, name: str, architecture: str, *, has_bytecode: bool) -> Path:
        """Return the package of a peer as `sam build` makes it, or the same with bytecode."""
        app, requirements = PEERS[name]()

        def make(folder: Path) -> None:
            folder.mkdir()
            (folder / "app.py").write_text(app)
            if requirements:
                (folder / "requirements.txt").write_text(requirements)
                run(
                    *(*self._pip, "-r", str(folder / "requirements.txt"), "--target", str(folder)),
                    *("--python-version", "3.13", "--python-platform", PLATFORMS[architecture]),
                )
            if has_bytecode:
                self._compile(folder)

        kind = f"{name}-{architecture}" + ("-bytecode" if has_bytecode else "")
        return kept(kind, [str(self.python), kind, app, requirements], make)

    def package(self, architecture: str, *, has_bytecode: bool) -> Path:
        """Return this project's package, as its own build makes it, with or without Python 3.13."""

        def make(folder: Path) -> None:
            folder.mkdir()
            run(
                *("make", "-C", ROOT / "functions", "build-ApiFunction", f"UV={UV}"),
                *(f"ARTIFACTS_DIR={folder}", f"ARCHITECTURE={architecture}"),
                *(() if has_bytecode else ("PYTHON313=",)),
            )

        kind = f"package-{architecture}" + ("" if has_bytecode else "-sources")
        return kept(kind, [str(self.python), *files_below(ROOT / "functions")], make)

    @property
    def _pip(self) -> tuple[str, ...]:
        return (UV, "pip", "install", "--quiet", "--only-binary", ":all:")

    def _compile(self, folder: Path) -> None:
        mode = ("--invalidation-mode", "unchecked-hash")
        run(self.python, "-m", "compileall", "-q", "-j", "0", *mode, folder)


def tutorial() -> tuple[str, str]:
    """Return the app and the requirements of the usual tutorial."""
    return (TUTORIAL / "app.py").read_text(), TUTORIAL_REQUIREMENTS.read_text()


def tutorial_without_pandas() -> tuple[str, str]:
    """Return the same without pandas: the model is given a list of lists."""
    app, requirements = tutorial()
    app = app.replace("import pandas as pd\n", "")
    app = app.replace('pd.DataFrame({"value": [value]})', "[[value]]")
    return app, re.sub(r"(?m)^pandas==.*\n", "", requirements)


def empty() -> tuple[str, str]:
    """Return a function that does nothing: the cost of Python and of Lambda's runtime alone."""
    response = {"statusCode": 200, "body": '{"is_anomaly": true, "predicted_value": -1}'}
    return f"def lambda_handler(event, context):\n    return {response!r}\n", ""


PEERS = {
    "tutorial": tutorial,
    "tutorial-without-pandas": tutorial_without_pandas,
    "empty": empty,
}


def facts(installed: Installation | None) -> dict[str, str]:
    """Return the versions of everything that is measured."""
    found = {
        "This project": pinned(ROOT / "functions/requirements.txt", OUR_LIBRARIES),
        "Tutorial": pinned(TUTORIAL_REQUIREMENTS, TUTORIAL_LIBRARIES),
        "Libraries": pinned(REQUIREMENTS, PEER_LIBRARIES),
        "Networks": ", ".join(installed_here(NETWORK_LIBRARIES)),
    }
    if installed is None:
        return {"Python": sys.version.split()[0], **found}
    command = [str(installed.python), "-c", "import sys; print(sys.version.split()[0])"]
    python = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    networks = sys.version.split()[0]
    return {"Python": f"{python}; networks: {networks}; {RUNTIME}", **found}


def find_installation() -> Installation | None:
    """Return what is installed for Python 3.13, or None where there is none."""
    try:
        return Installation.find()
    except MissingError:
        return None


def pinned(requirements: Path, names: Iterable[str]) -> str:
    """Return the pins of a requirements file."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", requirements.read_text(), re.MULTILINE))
    return ", ".join(f"{name} {pins[name]}" for name in names if name in pins)


def installed_here(names: Iterable[str]) -> Iterable[str]:
    """Yield the versions installed beside this project."""
    for name in names:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


@dataclass(frozen=True)
class Models:
    """The models, as they are stored in the bucket."""

    artifacts: dict[str, bytes]
    estimators: dict[str, bytes]


def fit_models(folder: Path) -> Models:
    """Fit a value forest and the contextual detector on half of the simulated series."""
    half = simulate_ec2_cpu().part(0, FITTED_ON)
    value_forest = fit_value_forest(half, SEED)
    value_forest.save_estimator(folder)
    estimator = joblib.load(folder / "value-forest.joblib")
    fitted = {
        VALUE_FOREST: value_forest.detector,
        CONTEXTUAL: fit_contextual(half, SEED).detector,
    }
    plain = dumped(estimator)
    estimator.feature_names_in_ = np.array(["value"], dtype=object)
    return Models(
        {name: artifact(detector, name) for name, detector in fitted.items()},
        {ESTIMATOR: plain, NAMED_ESTIMATOR: dumped(estimator)},
    )


def artifact(detector: Detector, name: str) -> bytes:
    """Return a model as it is published."""
    data = {"origin": "simulated", "readings": FITTED_ON}
    return pack(detector, name, libraries={}, training_data=data, figures={})


def dumped(estimator: object) -> bytes:
    """Return an estimator as joblib writes it."""
    written = io.BytesIO()
    joblib.dump(estimator, written)
    return written.getvalue()


@dataclass(frozen=True)
class Bucket:
    """A bucket that another process serves."""

    url: str
    models: Models

    @property
    def environment(self) -> dict[str, str]:
        """What a function needs to read it."""
        return {
            **CREDENTIALS,
            "AWS_REGION": CREDENTIALS["AWS_DEFAULT_REGION"],
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "NO_PROXY": "127.0.0.1",
            "MODEL_BUCKET": BUCKET,
            "POWERTOOLS_SERVICE_NAME": "bench",
            "POWERTOOLS_METRICS_NAMESPACE": "Bench",
        }

    def publish(self, names: Iterable[str], data: bytes) -> None:
        """Put a model into the bucket under these names."""
        s3 = local_client("s3", self.url)
        metadata = {DIGEST_METADATA: digest(data), CREATED_METADATA: CREATED}
        for name in names:
            s3.put_object(Bucket=BUCKET, Key=model_key(name), Body=data, Metadata=metadata)


@contextmanager
def served_bucket(models: Models) -> Iterator[Bucket]:
    """Start a process that serves a bucket with these models; end it afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speed.installation"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        bucket = Bucket(process.stdout.readline().strip(), models)
        for name, data in models.artifacts.items():
            bucket.publish([name], data)
        s3 = local_client("s3", bucket.url)
        for key, data in models.estimators.items():
            s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        yield bucket  # leaving closes its input


if __name__ == "__main__":
    with local_bucket() as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        sys.stdin.read()
