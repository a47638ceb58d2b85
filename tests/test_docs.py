"""The documentation names what there is: the API, the layers, the studies, the pages."""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PUBLIC = (
    "recenv",
    "recenv.recommenders",
    "recenv.benchmark",
    "recenv.evaluation",
    "recenv.evaluation.fidelity",
    "recenv.data",
    "recenv.data.formats",
    "training",
)
"""Packages whose ``__all__`` is documented."""
WHOLE = ("recenv.testing", "recenv.env.text", "recenv.config", "recenv.errors")
"""Modules that are documented as a whole."""


def entries():
    """What the API pages document: names of objects and of modules."""
    pages = sorted((DOCS / "api").glob("*.md"))
    return re.findall(r"^::: (\S+)$", "\n".join(page.read_text() for page in pages), re.M)


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_class_and_function_is_on_an_api_page(package):
    module, documented = importlib.import_module(package), set(entries())
    for name in module.__all__:
        found = getattr(module, name)
        home = getattr(found, "__module__", None)
        if not callable(found) or home is None or not home.startswith(("recenv", "training")):
            continue  # a constant
        places = {f"{package}.{name}", home, f"{home}.{found.__qualname__}"}
        # an object that several packages export stands there once
        places |= {f"{p}.{name}" for p in PUBLIC if name in importlib.import_module(p).__all__}
        assert places & documented, f"{package}.{name} is on no page of docs/api"


def test_api_entries_exist_and_stand_there_once():
    listed = entries()
    assert len(listed) == len(set(listed))
    assert set(WHOLE) <= set(listed)
    for name in listed:
        if is_module(name):
            continue
        package, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(package), last), name


def is_module(name):
    """Whether a dotted name is a module."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what stands before the last dot is no package
        return False


def test_the_nav_has_every_page():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = re.findall(r": (\S+\.md)$", text, re.M)
    assert len(pages) == len(set(pages))
    assert set(pages) == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_the_architecture_has_every_layer_in_its_order():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = {c["name"]: c["layers"] for c in settings["contracts"] if c["type"] == "layers"}
    text = (DOCS / "architecture.md").read_text()
    for package in ("recenv", "training"):
        table = text.partition(f"| layer of `{package}`")[2].partition("\n\n")[0]
        told = [name for row in table.splitlines()[2:] for name in names(row.split("|")[1])]
        order = [part for layer in layers[f"layers of {package}"] for part in layer.split(" | ")]
        assert told == order


def names(cell):
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_files_that_the_architecture_names_exist():
    text = (DOCS / "architecture.md").read_text()
    paths = set(re.findall(r"`((?:recenv|training)/[\w/.]+)`", text))
    assert len(paths) > 10
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    # a function named beside its file is in it
    for name, path in (
        ("click_given_examined", "recenv/users/laws/click_probability.py"),
        ("leave", "recenv/users/laws/leaving.py"),
        ("weigh", "recenv/sim/screens.py"),
        ("draw_candidates", "recenv/sim/candidates.py"),
        ("fit_interests", "recenv/encoders/interest_vectors.py"),
        ("cold_start_user", "recenv/users/fitting/cold_start.py"),
        ("load_user", "training/runs/load_policy.py"),
        ("write_fidelity", "recenv/evaluation/fidelity/report_writer.py"),
    ):
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.M), name


def test_every_study_is_listed_with_a_command_that_is_there():
    text = (DOCS / "studies.md").read_text()
    modules = set(re.findall(r"python -m (\S+)", text))
    for module in modules:
        assert find_spec(module) is not None, module
    own = {f"recenv.studies.{p.parent.name}" for p in ROOT.glob("recenv/studies/*/__main__.py")}
    commands = {
        f"training.studies.{path.stem}"
        for path in ROOT.glob("training/studies/*.py")
        if "__main__" in path.read_text()
    }
    assert len(own) >= 7
    assert len(commands) >= 3
    assert own | commands <= modules


def test_the_makefile_runs_modules_that_are_there():
    text = (ROOT / "Makefile").read_text()
    for loop, body in re.findall(r"for study in ([\w ]+); do(.*?)done", text, re.S):
        (module,) = re.findall(r"-m (\S+?)\$\$study", body)
        for study in loop.split():
            assert find_spec(f"{module}{study}") is not None, f"{module}{study}"
    modules = re.findall(r"python -m ((?:recenv|training)[\w.]*\w)(?=\s)", text)
    assert len(modules) >= 3
    for module in modules:
        assert find_spec(module) is not None, module


class Sources(HTMLParser):
    """Addresses that a page makes a browser fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(told.get("src") or "")
        elif tag == "link" and "canonical" not in (told.get("rel") or ""):
            self.found.append(told.get("href") or "")


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_fetches_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "WARNING" not in told
    index = json.loads((tmp_path / "search" / "search_index.json").read_text())["docs"]
    locations = {entry["location"] for entry in index}
    assert "api/recommenders/#recenv.recommenders.ThompsonRecommender" in locations
    assert "api/worlds/#recenv.build_world" in locations
    for page in tmp_path.rglob("*.html"):
        sources = Sources()
        sources.feed(page.read_text())
        assert [s for s in sources.found if re.match(r"(https?:)?//", s)] == [], page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text()), sheet
