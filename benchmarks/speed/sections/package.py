"""How large the packages are."""

from __future__ import annotations

from benchmarks.speed.figures import BYTES, Figure, Goal, Growth, Row
from benchmarks.speed.installation import PLATFORMS, size
from benchmarks.speed.setting import OURS, Setting

PEERS = {"tutorial": "tutorial", "tutorial without pandas": "tutorial_without_pandas"}
UNZIPPED_HOW = "bytes of all files, as shipped: this project with bytecode, the others without"
ZIPPED_HOW = "the same, deflated"


def package(setting: Setting) -> list[Row | Growth]:
    """Measure the packages for both processors; arm64 is what is deployed by default."""
    installed = setting.installed()
    rows: list[Row | Growth] = []
    for architecture in ("arm64", "x86_64") if not setting.quick else (installed.architecture,):
        assert architecture in PLATFORMS
        setting.tell(f"package for {architecture}")
        ours = size(installed.package(architecture, has_bytecode=True))
        peers = {
            who: size(installed.peer(name, architecture, has_bytecode=False))
            for who, name in PEERS.items()
        }
        for way, how in (("unzipped", UNZIPPED_HOW), ("zipped", ZIPPED_HOW)):
            rows.append(
                Row(
                    f"package-{architecture}-{way}",
                    f"Package for {architecture}, {way}",
                    how,
                    BYTES,
                    Figure.of(OURS, [getattr(ours, way)]),
                    tuple(Figure.of(who, [getattr(of, way)]) for who, of in peers.items()),
                    Goal(5, 8),
                )
            )
    return rows
