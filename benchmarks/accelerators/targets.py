"""Accelerators to compile for, none of which need be there: their compilers run on any machine.

TPU: `libtpu` knows the topologies. GPU: JAX's CUDA plugin compiles, with NVIDIA's compiler, for a card described to it
(h100.txtpb); no driver, cuBLAS or cuDNN is needed. The optional extra `accelerators` of pyproject.toml has both.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxbandit._core.errors import InputError, unknown

EXTRA = "pip install 'jaxbandit[accelerators]'"


class Target(NamedTuple):
    platform: str  # as JAX names it
    chips: int
    compiler: str  # the distribution whose version counts
    modules: tuple[str, ...]  # that must be there
    gigahertz: float = 0.0  # of a TPU: multiplications of a unit of 128 x 128 (v6e: 256 x 256) fill the published peak


LIBTPU = "libtpu", ("libtpu",)
CUDA = (
    "jax-cuda12-plugin",
    ("jax_cuda12_plugin", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc", "nvidia.cuda_runtime", "nvidia.nvjitlink"),
)
TARGETS = {
    "v5e:2x2": Target("tpu", 4, *LIBTPU, 1.5),
    "v5e:4x4": Target("tpu", 16, *LIBTPU, 1.5),
    "v6e:2x2": Target("tpu", 4, *LIBTPU, 1.75),
    "h100": Target("cuda", 1, *CUDA),
}


def checked(name: str) -> Target:
    """Find a target whose compiler is installed.

    Raises:
        InputError: there is no such target, or a wheel is missing.
    """
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    missing = [module for module in TARGETS[name].modules if not installed(module)]
    if missing:
        raise InputError(f"--for is {name}, but its compiler is not installed: no module {missing[0]}; {EXTRA}")
    return TARGETS[name]


def installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def environment(target: Target, dumps: Path, *, bundles: bool) -> dict[str, str]:
    """Variables of a process that compiles for a target and writes what it makes, and maybe bundles, to a directory."""
    variables = os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if target.platform == "tpu":
        # No metadata server is asked, and a lock that another process holds does not matter: there is no chip.
        variables |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
        dump = (
            f"--xla_jf_dump_to={dumps} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=^final_bundles$"
        )
        return variables | {"LIBTPU_INIT_ARGS": dump if bundles else ""}
    dump = f"--xla_dump_to={dumps} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*advance.*"
    return variables | {"XLA_FLAGS": dump}


def devices(target: Target, name: str, count: int) -> Sequence[Any]:
    """Return devices of the target, to lower programs for; in a process with its environment."""
    from jax.experimental import topologies

    if target.platform == "tpu":
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    else:
        card = Path(__file__).with_name(f"{name}.txtpb").read_text()
        topology = topologies.get_topology_desc(platform="cuda", topology_name="", target_config=card, topology="1x1x1")
    return list(topology.devices)[:count]
