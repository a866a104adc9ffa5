"""What is installed and shipped: the wheel is whole, the constraints hold, the folders import what they may."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import everyframe

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STANDARD = sys.stdlib_module_names
ALLOWED = {
    "operators": {"torch", "numpy", "cv2", "scipy", "numba", "llvmlite", "openvino", "safetensors", "nncf",
                  "torch_pruning", "tensorly", "everyframe"},
    "policies": {"torch", "numpy", "scipy", "numba", "gymnasium", "safetensors", "everyframe"},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_version_is_the_projects() -> None:
    assert everyframe.__version__ == PROJECT["version"] == version("everyframe")


def test_the_wheel_is_whole(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"everyframe/__init__.py", "everyframe/py.typed", "everyframe/configs/archive.yaml"}
    expected.add("everyframe/operators/detectors/data/nanodet_g_coco.safetensors")
    for folder in ("operators", "pipeline", "policies"):
        expected |= {f"everyframe/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*.py")}
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {"everyframe", f"everyframe-{everyframe.__version__}.dist-info"}
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "everyframe", "run", "--print-config", "--config", "archive"]
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "policy: motion" in done.stdout
    code = "import everyframe; print(everyframe.__file__, everyframe.label)"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_every_dependency_is_pinned() -> None:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    known = {name.lower().replace("_", "-") for name in pinned}
    wanted = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[<>=\[ ]", text)[0].lower().replace("_", "-") for text in wanted} - {"everyframe"}
    assert names <= known
    assert "torch" in known
    assert "+cpu" not in (ROOT / "constraints.txt").read_text()
    assert "opencv-python" not in known  # it would overwrite the files of the headless one


def test_cv2_needs_no_graphics_libraries() -> None:
    """A fresh machine has neither libGL nor glib."""
    try:
        version("opencv-python")
    except PackageNotFoundError:
        pass
    else:
        pytest.skip("opencv-python was installed over the headless cv2 by hand")
    import cv2

    library = next(Path(cv2.__file__).parent.glob("cv2*.so"))
    needed = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"lib(GL|glib|gthread|X11)\b", needed)


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_folders_import_only_what_they_may(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        foreign = {name.split(".")[0] for name in _imports(path)} - STANDARD - ALLOWED[folder]
        assert not foreign, f"{path} imports {foreign}"


def test_no_file_is_too_long_to_read() -> None:
    for folder in ("operators", "pipeline", "policies", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 400, f"{path} has {lines} lines: find the second noun in it"


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
