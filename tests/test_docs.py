"""The pages say what is true: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from everyframe.pipeline.cli import build_app
from everyframe.pipeline.config import presets
from everyframe.policies.registry import POLICIES

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT.parent / "shared" / "data" / "moving" / "dashcam.mp4"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not CLIP.exists():
        pytest.skip("needs the video clips in ../shared/data")
    shutil.copy(CLIP, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    page = ROOT / name
    before = dict(POLICIES)
    space: dict[str, object] = {"__name__": name}
    try:
        for text in blocks(page, "python"):
            exec(compile(text, str(page), "exec"), space)  # noqa: S102 - our own pages
    finally:
        POLICIES.clear()
        POLICIES.update(before)
    assert blocks(page, "python")


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for text in blocks(page, "sh"):
            lines = [line for line in text.splitlines() if line.startswith("everyframe ")]
            found += [(page.name, line) for line in lines]
    for name, path in presets().items():
        found.append((name, path.read_text().splitlines()[0].removeprefix("# ")))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_parse(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "everyframe"
    build_app().parse_args(words[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_in_the_pages_exists() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for text in [*blocks(page, "sh"), *re.findall(r"`(make [^`]*)`", page.read_text())]:
            for target in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
                assert target in known, f"{page.name}: make {target}"


def test_cli_page_lists_every_policy_and_preset() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    for name in [*presets(), *(entry.form for entry in POLICIES.values())]:
        assert f"| `{name}` |" in page, name


def test_architecture_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:pipeline|operators|policies)/[\w/.]*)`", page):
        assert (ROOT / name).exists(), name
