"""Strict settings and shared caches for all tests, and the real data set that some of them read."""

import importlib.util
import mmap
import os
import tempfile
from pathlib import Path


def xla_flags() -> str:
    """Eight virtual devices, and quick compilation: tests compile hundreds of programs and run most for a moment.

    XLA ends the process at an unknown flag, so those that come and go are set where jaxlib has them. A flag's name
    stands in the library between two NUL bytes; without them it can be part of another symbol.
    """
    flags = ["--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0"]
    quicker = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}
    for library in Path(importlib.util.find_spec("jaxlib").origin).parent.glob("libjax_common.*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            flags += [
                f"--{flag}={value}" for flag, value in quicker.items() if content.find(f"\0{flag}\0".encode()) >= 0
            ]
    return " ".join(flags)


os.environ.setdefault("XLA_FLAGS", xla_flags())
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers side by side would fight over the cores
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import gc
import subprocess
import sys

import pytest
from jaxtyping import install_import_hook

install_import_hook("jaxbandit", "beartype.beartype")

gc.set_threshold(200_000, 50, 100)  # a worker keeps millions of objects, mostly JAX's, which never become garbage

FETCH = Path(__file__).parents[2] / "shared" / "fetch-ml-100k"


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that tests start share their compiled programs, quick ones too."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # here: writing takes longer than it ever saves
    if hasattr(config, "workerinput"):  # a worker, which inherits the environment of the first process
        return
    programs = tempfile.TemporaryDirectory(prefix="jaxbandit-tests-")
    config.add_cleanup(programs.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # Of a process killed while it wrote; pyproject.toml says the same for the processes of pytest.
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the launcher, which take longest, so that no worker is alone with them at the end."""
    items.sort(key=lambda item: "vertex" not in item.path.parts)


@pytest.fixture(autouse=True, scope="session")
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the cache of the person who runs the tests out of them."""
    directory = tmp_path_factory.mktemp("cache")
    os.environ["JAXBANDIT_CACHE"] = str(directory)
    return directory


@pytest.fixture(scope="session")
def ml_100k_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of MovieLens 100K in its original layout."""
    if not FETCH.exists():
        pytest.skip(
            "real MovieLens 100K is not here: its licence forbids to ship it, and shared/fetch-ml-100k is absent"
        )
    directory = tmp_path_factory.mktemp("ml-100k")  # of this worker: another's may be half written
    got = subprocess.run([sys.executable, str(FETCH), str(directory)], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(f"MovieLens 100K could not be fetched: {got.stderr.strip()[-200:]}")
    return directory


@pytest.fixture(scope="session")
def ml_100k(ml_100k_dir: Path):
    """MovieLens 100K as Ratings."""
    from jaxbandit.data import read

    return read(ml_100k_dir)
