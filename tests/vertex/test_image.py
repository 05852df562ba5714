"""The image: what enters it, what is pinned, and its steps carried out in a fresh virtual environment."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import dockerfile
from tests.command_line import ROOT, SMALL

DOCKERFILE = ROOT / "Dockerfile"
STEPS = dockerfile.read(DOCKERFILE)
PINS = dict(
    line.split("==") for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines() if line[0] != "#"
)
OUTSIDE = (
    ".git/config",
    "runs/a/metrics.csv",
    "launches/a.json",
    ".venv/bin/python",
    ".pytest_cache/README.md",
    ".mypy_cache/CACHEDIR.TAG",
    "jaxbandit/__pycache__/cli.cpython-312.pyc",
    "jaxbandit/envs/__pycache__/mf.cpython-312.pyc",
    "tests/vertex/test_image.py",
    "benchmarks/report.py",
    "cloud.toml",
    "key.json",
)


def kept_from_upload(path: str, directory: Path) -> bool:
    """Whether .gcloudignore keeps a path out, by git, as the two have one language."""
    subprocess.run(["git", "init", "--quiet", directory], check=True)
    shutil.copyfile(ROOT / ".gcloudignore", directory / ".gitignore")
    asked = ["git", "-C", directory, "-c", "core.excludesFile=", "check-ignore", "--no-index", "--quiet", path]
    return subprocess.run(asked, check=False).returncode == 0


def image_python() -> str:
    """The Python of the image where this machine has it, or else the one that runs the tests."""
    version = next(step.text for step in STEPS if step.keyword == "FROM").split(":")[1].split("-")[0]
    versions = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for python in (shutil.which(f"python{version}"), *map(str, versions)):
        if python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return sys.executable


def skip_without_registry(build: dockerfile.Build) -> None:
    """Skip where pip reaches nothing at all; else the failure that is being looked at is ours."""
    asked = ["pip", "download", "--no-cache-dir", "--no-deps", "--dest", build.root / "asked", "idna"]
    got = subprocess.run(asked, env=build.env, capture_output=True, text=True, timeout=200, check=False)
    if got.returncode:
        pytest.skip(f"pip reaches no package registry from here: {got.stderr.strip().splitlines()[-1]}")


def requirements() -> list[Requirement]:
    """What the image can be asked to install: dependencies, the SDK, and jax for each accelerator."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in ("vertex", "sklearn", "cuda12", "cuda13", "tpu")]
    return [Requirement(text) for text in sum(extras, project["dependencies"])]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(requirement: Requirement) -> None:
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, "run scripts/pin.sh"
    assert requirement.specifier.contains(pin), (pin, "run scripts/pin.sh")


def test_the_pins_are_names_and_versions_and_know_the_newest_tpus() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[\w.]+", pin) for name, pin in PINS.items())
    assert Requirement("jax>=0.10.1").specifier.contains(PINS["jax"])
    assert {"libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "hatchling"} <= set(PINS)
    assert PINS["jaxlib"] == PINS["jax-cuda12-plugin"] == PINS["jax-cuda13-plugin"]


@pytest.mark.parametrize("source", dockerfile.copies(STEPS))
def test_what_the_image_copies_exists_and_enters_both_contexts(source: str, tmp_path: Path) -> None:
    path = ROOT / source
    files = [source] if path.is_file() else [str(x.relative_to(ROOT)) for x in sorted(path.rglob("*.py"))]
    assert files
    for file in files[:5] + files[-5:]:
        assert not dockerfile.ignored(file, ROOT / ".dockerignore")
        assert not kept_from_upload(file, tmp_path), file


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_belongs_to_this_machine_stays_here(path: str, tmp_path: Path) -> None:
    assert dockerfile.ignored(path, ROOT / ".dockerignore")
    assert kept_from_upload(path, tmp_path)


@pytest.mark.parametrize("path", ["Dockerfile", ".dockerignore"])
def test_the_upload_holds_what_the_builder_reads(path: str, tmp_path: Path) -> None:
    assert not kept_from_upload(path, tmp_path)


def test_the_state_of_launches_is_not_committed() -> None:
    asked = ["git", "-C", ROOT, "check-ignore", "--no-index", "--quiet", "launches/a.json"]
    assert subprocess.run(asked, check=False).returncode == 0


def test_the_source_comes_after_the_dependencies() -> None:
    installs = [place for place, step in enumerate(STEPS) if "-c constraints.txt" in step.text]
    copied = STEPS.index(dockerfile.Step("COPY", "jaxbandit jaxbandit"))
    assert installs
    assert max(installs) < copied


@pytest.mark.parametrize("accelerator", ["rocm", "cuda", ""])
def test_an_unknown_accelerator_is_refused_in_one_line_before_anything_is_installed(
    accelerator: str, tmp_path: Path
) -> None:
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text("#!/bin/sh\necho something is installed >&2\nexit 1\n")
    pip.chmod(0o755)
    build = dockerfile.Build(ROOT, tmp_path / "image", venv=tmp_path, ACCEL=accelerator)
    with pytest.raises(dockerfile.Failed) as failed:  # noqa: PT012
        for step in STEPS:
            build.carry_out(step)
    assert failed.value.stderr == f"ACCEL is '{accelerator}'; allowed: cpu, tpu, cuda12, cuda13\n"


def test_any_user_may_write_the_cache_and_the_metric_file_of_a_trial(tmp_path: Path) -> None:
    build = dockerfile.Build(ROOT, tmp_path, tmp_path / "venv", RUN_AS="1000")
    for step in STEPS:
        if step.keyword in ("ENV", "WORKDIR", "ARG") or (step.keyword, "chmod" in step.text) == ("RUN", True):
            build.carry_out(step)
    # CLOUD_ML_HP_METRIC_FILE names a file there: https://pypi.org/project/cloudml-hypertune
    for place in ("/var/hypertune", "/var/cache/jaxbandit", "/work"):
        assert build.at(place).stat().st_mode & 0o1777 == 0o1777, place


@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_steps_make_an_image_that_runs_a_simulation_and_has_the_sdk(tmp_path: Path) -> None:
    venv, root = tmp_path / "venv", tmp_path / "image"
    subprocess.run([image_python(), "-m", "venv", venv], check=True, timeout=200)
    build = dockerfile.Build(ROOT, root, venv, ACCEL="cpu", RUN_AS="1000")
    build.env["PIP_NO_COMPILE"] = "1"  # half a minute; what is imported below is compiled then
    root.mkdir()
    for step in STEPS:
        try:
            build.carry_out(step)
        except dockerfile.Failed:
            skip_without_registry(build)
            raise
        if step.text == "jaxbandit jaxbandit":
            build.env["PIP_NO_INDEX"] = "1"  # from here on a step may be done again at each change of the source
    assert build.user == "1000"

    def call(*words: str) -> str:
        got = subprocess.run(
            words, cwd=build.directory, env=build.env, capture_output=True, text=True, timeout=200, check=False
        )
        assert got.returncode == 0, got.stderr[-3000:]
        return got.stdout

    installed = dict(line.split("==") for line in call("pip", "freeze").splitlines() if "==" in line)
    assert {canonicalize_name(name): version for name, version in installed.items()}.items() <= PINS.items()
    assert not [name for name in installed if name.startswith(("nvidia", "libtpu", "jax-cuda"))]

    container = dockerfile.command(DOCKERFILE, "ENTRYPOINT") + dockerfile.command(DOCKERFILE, "CMD")
    assert list(build.directory.iterdir()) == []
    call(*container, *SMALL, "--out", "out")
    assert (build.directory / "out" / "summary.json").is_file()
    assert list(build.at("/var/cache/jaxbandit").iterdir())
    where = call("python", "-c", "import google.cloud.aiplatform, jaxbandit; print(jaxbandit.__file__)")
    package = Path(where.strip()).parent
    assert package.is_relative_to(venv)
    sources = {path.relative_to(ROOT / "jaxbandit") for path in (ROOT / "jaxbandit").rglob("*.py")}
    assert sources == {path.relative_to(package) for path in package.rglob("*.py")}
