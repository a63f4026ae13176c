"""README.md and the files by which a project introduces itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

CONSTRAINT = re.compile(r"([\w.-]+)==([\w.]+)( ; .+)?")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "serving/README.md"])
def test_local_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}, link


def test_make_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"(?:^|`|VENV=\S+ )make ([a-z][\w-]*)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{page.relative_to(ROOT)}: make {target}"


def test_files_that_are_named() -> None:
    """Paths of the repository in CONTRIBUTING.md and in the architecture's table of what to change."""
    guide = (ROOT / "docs" / "architecture.md").read_text().split("\n## Where to change what\n")[1].split("\n## ")[0]
    for text in ((ROOT / "CONTRIBUTING.md").read_text(), guide):
        named = re.findall(r"`((?:[\w-]+/)+[\w.*-]*)`", text)
        assert named
        for path in named:
            if re.search(r"[A-Z]{4}", path):  # a placeholder, such as NAME.py
                continue
            assert any([*ROOT.glob(path.rstrip("/")), *(ROOT / "qdfast").glob(path.rstrip("/"))]), path


def test_the_versions_are_equal() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_line_of_the_constraints_is_one() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 100
    for line in lines:
        assert CONSTRAINT.fullmatch(line), line


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
@pytest.mark.slow
def test_schemas(schema: str, pattern: str) -> None:
    pytest.importorskip("check_jsonschema")
    files = list(ROOT.glob(pattern))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    for package in ("furo", "myst_parser", "sphinx_copybutton", "sphinxcontrib.autoprogram"):
        if importlib.util.find_spec(package.split(".")[0]) is None:
            pytest.skip(f"{package} is not installed: pip install '.[docs]'")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-E",
        str(ROOT / "docs"),
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "reference" / "client.html").exists()
