"""Docker, Terraform, Application Repository: what each names is what the project has."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.support.cloudformation import ROOT, TEMPLATE

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "distribution.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```hcl\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
METADATA = TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]

FAKE_PYTHON = """#!/bin/sh
printf '[%s]' "$@"
"""


class TestImage:
    """What is copied into the container image, what it runs, and as whom."""

    def test_has_everything_that_is_packaged_except_the_benchmarks(self) -> None:
        find = PROJECT["tool"]["setuptools"]["packages"]["find"]
        packages = {name.rstrip("*") for name in find["include"]} - {"benchmarks", "ops_anomaly"}
        copied = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
        assert packages | {"functions", "events"} <= set(copied)

    def test_installs_extras_that_exist(self) -> None:
        extras = set(re.findall(r"--extra (\w+)", DOCKERFILE))
        assert extras == {"training", "local"}
        assert extras <= set(PROJECT["project"]["optional-dependencies"])

    def test_base_has_a_tag_and_the_user_is_not_root(self) -> None:
        assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}
        assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["1000"]

    @pytest.mark.parametrize(
        ("arguments", "run"),
        [
            (["demo"], "[-m][local][demo][--host][0.0.0.0]"),
            (["demo", "--once"], "[-m][local][demo][--host][0.0.0.0][--once]"),
            (["train", "--csv", "my cpu.csv"], "[-m][commands][train][--csv][my cpu.csv]"),
            (["--help"], "[-m][commands][--help]"),
        ],
    )
    def test_runs_the_demo_or_a_command(
        self, arguments: list[str], run: str, tmp_path: Path
    ) -> None:
        (tmp_path / "python").write_text(FAKE_PYTHON, encoding="utf-8")
        (tmp_path / "python").chmod(0o755)
        entry = re.search(r'^ENTRYPOINT \["/app/(.+)"\]$', DOCKERFILE, re.MULTILINE)
        assert entry
        done = subprocess.run(
            [ROOT / entry[1], *arguments],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == run


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    """The stack in the example for Terraform."""
    resources = {
        kind.strip('"'): next(iter(named.values()))
        for resource in hcl2.loads(EXAMPLE)["resource"]
        for kind, named in resource.items()
    }
    stack: dict[str, Any] = resources["aws_cloudformation_stack"]
    return stack


class TestTerraform:
    """The example of the documentation."""

    def test_parameters_are_the_templates(self, stack: dict[str, Any]) -> None:
        parameters = {name.strip('"'): value for name, value in stack["parameters"].items()}
        assert parameters.keys() <= TEMPLATE["Parameters"].keys()
        for name, value in parameters.items():
            parameter = TEMPLATE["Parameters"][name]
            text = str(value).strip('"')
            assert text in map(str, parameter.get("AllowedValues", [text]))
            assert re.fullmatch(parameter.get("AllowedPattern", ".*"), text)

    def test_outputs_are_the_templates(self) -> None:
        outputs = re.findall(r'\.outputs\["(\w+)"\]', EXAMPLE)
        assert outputs
        assert set(outputs) <= TEMPLATE["Outputs"].keys()

    def test_acknowledges_roles_and_the_transform(self, stack: dict[str, Any]) -> None:
        capabilities = [each.strip('"') for each in stack["capabilities"]]
        assert capabilities == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

    def test_is_formatted_as_terraform_does(self) -> None:
        """Two spaces a level, and the equals signs of neighbouring lines in one column."""
        depth, columns = 0, set()
        for line in EXAMPLE.splitlines():
            depth -= line.strip().startswith(("}", "]"))
            assert len(line) - len(line.lstrip()) == 2 * depth * bool(line.strip()), line
            depth += line.split("#")[0].rstrip().endswith(("{", "["))
            column = line.find(" = ")
            columns = columns | {column} if column > 0 and not line.endswith("{") else set()
            assert len(columns) <= 1, line


class TestApplicationRepository:
    """The metadata for `sam publish`, by the patterns of its documentation."""

    def test_is_the_packages(self) -> None:
        project = PROJECT["project"]
        assert (METADATA["Name"], METADATA["Description"], METADATA["SemanticVersion"]) == (
            project["name"],
            project["description"],
            project["version"],
        )

    def test_has_the_patterns_that_are_asked_for(self) -> None:
        assert re.fullmatch(r"[a-zA-Z0-9-]{1,140}", METADATA["Name"])
        assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", METADATA["Author"])
        assert 1 <= len(METADATA["Description"]) <= 256
        assert len(METADATA["Labels"]) <= 10
        for label in METADATA["Labels"]:
            assert re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label)

    def test_names_files_that_exist(self) -> None:
        assert (ROOT / METADATA["ReadmeUrl"]).is_file()
        licence = (ROOT / METADATA["LicenseUrl"]).read_text(encoding="utf-8")
        assert METADATA["SpdxLicenseId"] == "Apache-2.0"
        assert "Apache License" in licence
        assert "Version 2.0" in licence
