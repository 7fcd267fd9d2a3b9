"""What is shipped: one top-level name, every module, every data file."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("harness", "models", "reports", "suites")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files in a wheel built from this checkout, without a network: the build backend is installed for the tests."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(ROOT)]
    (out / "extra.cfg").write_text(
        f"[build]\nbuild_base = {out / 'build'}\n"
    )  # not ROOT/build, which may hold old files
    environment = os.environ | {"DIST_EXTRA_CONFIG": str(out / "extra.cfg")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_one_top_level_name(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names if not name.split("/")[0].endswith(".dist-info")}
    assert tops == {"modbench"}


def test_every_module_and_data_file_is_in(wheel_names: list[str]) -> None:
    wanted = {"modbench/py.typed"}
    front = ROOT / "src" / "modbench"
    own = [front, *(folder for folder in front.iterdir() if folder.is_dir() and not folder.is_symlink())]
    wanted |= {str(source.relative_to(ROOT / "src")) for folder in own for source in folder.glob("*.py")}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(f"modbench/{path.relative_to(ROOT)}")
    assert {name for name in wheel_names if name.startswith("modbench/")} == wanted


def test_licence_is_in(wheel_names: list[str]) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)
