"""scripts/build_image.sh and cloudbuild.yaml, with stand-ins for gcloud and docker that write down their arguments."""

import os
import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.command_line import ROOT, Result

IMAGE = "europe-west4-docker.pkg.dev/a-project/images/jaxbandit"
CLOUDBUILD = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clean repository of one commit that holds the script, with the stand-ins beside it."""
    root = tmp_path / "repository"
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "git"):  # and no more, so that no real docker or gcloud is ever called
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "build_image.sh", root / "scripts")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "First")
    for tool in ("gcloud", "docker"):
        write_tool(tmp_path, tool, f'echo {tool} "$@" >>{tmp_path}/called; echo progress')
    return root


def write_tool(directory: Path, name: str, line: str) -> None:
    tool = directory / "bin" / name
    tool.write_text(f"#!/bin/sh\n{line}\n")
    tool.chmod(0o755)


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout.strip()


def build(repository: Path, *words: str) -> Result:
    env = os.environ | {"PATH": str(repository.parent / "bin")}
    script = [repository / "scripts" / "build_image.sh", *words]
    got = subprocess.run(script, capture_output=True, text=True, env=env, cwd="/", timeout=60, check=False)
    return Result(got.returncode, got.stdout, got.stderr)


def called(repository: Path) -> list[str]:
    path = repository.parent / "called"
    return path.read_text().splitlines() if path.exists() else []


def sha(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD")[:7]


def test_cloud_build_is_asked_for_the_commit_and_only_the_name_is_printed(repository: Path) -> None:
    got = build(repository, "--image", IMAGE, "--accel", "tpu")
    assert (got.status, got.out) == (0, f"{IMAGE}:{sha(repository)}-tpu\n")
    assert called(repository) == [
        "gcloud builds submit --project=a-project --config=cloudbuild.yaml "
        f"--substitutions=SHORT_SHA={sha(repository)},_ACCEL=tpu,_IMAGE={IMAGE},_RUN_AS=0 ."
    ]


def test_a_local_docker_builds_and_pushes(repository: Path) -> None:
    got = build(repository, f"--image={IMAGE}", "--local", "--push", "--run-as=1000")
    name = f"{IMAGE}:{sha(repository)}-cuda12"
    assert (got.status, got.out) == (0, f"{name}\n")
    arguments = f"--build-arg=ACCEL=cuda12 --build-arg=RUN_AS=1000 --tag={name}"
    assert called(repository) == [f"docker build --platform=linux/amd64 {arguments} .", f"docker push {name}"]


@pytest.mark.parametrize("way", [[], ["--local"], ["--local", "--push"]], ids=" ".join)
def test_a_dry_run_prints_what_a_run_calls_and_calls_nothing(repository: Path, way: list[str]) -> None:
    dry = build(repository, "--image", IMAGE, *way, "--dry-run")
    assert called(repository) == []
    real = build(repository, "--image", IMAGE, *way)
    assert dry.out == "\n".join([*called(repository), real.out])


def test_files_that_differ_from_the_commit_are_refused_or_named_in_the_tag(repository: Path) -> None:
    (repository / "new.py").touch()
    refused = build(repository, "--image", IMAGE)
    assert (refused.status, refused.out, called(repository)) == (2, "", [])
    assert "--allow-dirty" in refused.err
    got = build(repository, "--image", IMAGE, "--allow-dirty")
    assert got.out == f"{IMAGE}:{sha(repository)}-cuda12-dirty\n"
    assert "_SUFFIX=-dirty" in called(repository)[0]


def test_a_build_that_fails_is_not_pushed_and_names_no_image(repository: Path) -> None:
    write_tool(repository.parent, "docker", f'echo docker "$1" >>{repository.parent}/called; exit 7')
    got = build(repository, "--image", IMAGE, "--local", "--push")
    assert (got.status, got.out, called(repository)) == (7, "", ["docker build"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--image is ''"),
        ("--image", "--image has no value"),
        ("--image jaxbandit", "allowed: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME"),
        ("--image europe-west4-docker.pkg.dev/a-project/jaxbandit", "allowed: REGION-docker.pkg.dev/PROJECT/"),
        (f"--image {IMAGE}:latest", "a name without a tag"),
        (f"--image {IMAGE}@sha256:1", "a name without a tag"),
        (f"--image {IMAGE},_ACCEL=x", "lower case"),
        ("--image Jaxbandit --local", "lower case"),
        (f"--image {IMAGE} --accel rocm", "--accel is 'rocm'; allowed: cpu, tpu, cuda12, cuda13"),
        (f"--image {IMAGE} --run-as me", "--run-as is 'me'"),
        (f"--image {IMAGE} --push", "--push is set without --local"),
        (f"--image {IMAGE} --tag x", "argument is '--tag'"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line(repository: Path, words: str, said: str) -> None:
    got = build(repository, *words.split())
    assert (got.status, got.out, called(repository)) == (2, "", [])
    assert got.err.startswith("build_image.sh: error: ")
    assert got.err.count("\n") == 1
    assert said in got.err


def test_a_missing_tool_or_commit_is_said_in_one_line(repository: Path) -> None:
    (repository.parent / "bin" / "docker").unlink()
    got = build(repository, "--image", IMAGE, "--local")
    assert got == Result(2, "", "build_image.sh: error: docker is not installed here\n")
    git(repository, "update-ref", "-d", "HEAD")
    assert build(repository, "--image", IMAGE).err == (
        "build_image.sh: error: there is no git commit here, which names the image\n"
    )


@pytest.mark.parametrize("suffix", [[], ["--allow-dirty"]], ids=["clean", "dirty"])
def test_cloud_build_makes_the_same_image_as_a_local_docker(repository: Path, suffix: list[str]) -> None:
    if suffix:
        (repository / "new.py").touch()
    words = ["--image", IMAGE, "--accel", "cuda13", "--run-as", "7", *suffix]
    build(repository, *words)
    name = build(repository, *words, "--local").out.strip()
    cloud, local = called(repository)
    given = dict(pair.split("=", 1) for pair in re.search(r"--substitutions=(\S+)", cloud)[1].split(","))
    values = CLOUDBUILD["substitutions"] | {"PROJECT_ID": "a-project"} | given
    (step,) = CLOUDBUILD["steps"]
    steps = [string.Template(argument).substitute(values) for argument in step["args"]]
    assert step["name"].endswith("/docker")
    assert sorted(steps) == sorted(set(local.split()) - {"docker", "--platform=linux/amd64"})
    assert [string.Template(image).substitute(values) for image in CLOUDBUILD["images"]] == [name]


def test_cloud_build_declares_what_it_substitutes_and_no_more() -> None:
    used = set(re.findall(r"\$\{(_\w+)\}", yaml.safe_dump([CLOUDBUILD["steps"], CLOUDBUILD["images"]])))
    assert used == set(CLOUDBUILD["substitutions"])
    assert all(isinstance(value, str) for value in CLOUDBUILD["substitutions"].values())
    assert CLOUDBUILD["substitutions"]["_ACCEL"] == "cuda12"
    assert CLOUDBUILD["options"]["dynamicSubstitutions"] is True
