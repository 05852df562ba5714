"""policy.json: what it says of the files beside it and of their programs, read and checked. It runs no program."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from etils import epath

from jaxbandit._core import sealed
from jaxbandit._core.errors import InputError
from jaxbandit._core.fitting import misfit

FORMAT = 2  # 1 had no digest of policy.json itself
HEADER, ARRAYS, ACTIONS, PROBABILITIES = "policy.json", "arrays.npz", "program.stablehlo", "probabilities.stablehlo"


class Item(TypedDict):
    """An array that a program takes or returns."""

    name: str
    shape: list[int | str]  # "b" is the number of users
    dtype: str
    words: str  # what it is


class Inputs(TypedDict):
    """What a program is called with."""

    arrays: list[Item]
    key: Item
    context: list[Item]


class Users(TypedDict):
    """How many users a call of a program may have."""

    symbol: str
    least: int
    most: int


class About(TypedDict):
    """How a program is called and what it answers."""

    call: str
    platforms: list[str]
    users: Users
    inputs: Inputs
    output: Item


class Sizes(TypedDict):
    """The entries of `types.Spec`; None in the range of rewards: no limit, since JSON has no infinity."""

    num_actions: int
    user_dim: int
    arm_dim: int
    reward_range: Sequence[float | None]
    slate_size: int


class Origin(TypedDict):
    """Which agent of which run a policy is."""

    config: Mapping[str, Any]  # config.json of the run
    seed: int
    rounds: int


class Header(Origin):
    """The content of policy.json."""

    format: int
    jaxbandit: str | None  # version
    jax: str
    spec: Sizes
    num_items: int | None  # in the catalogue
    programs: dict[str, About]  # by the names of their files
    files: dict[str, str]  # name -> SHA-256


def read_header(directory: epath.Path) -> Header:
    """Read policy.json.

    Raises:
        InputError: there is none, a damaged one, or one of a newer format.
    """
    path = directory / HEADER
    if not path.exists():
        inner = directory / "policy"
        hint = f"did you mean {str(inner)!r}? " if (inner / HEADER).exists() else ""
        raise InputError(f"policy is {str(directory)!r}, which holds none: {hint}allowed: the --out of an export")
    way_out = "allowed: delete the policy and export it again"
    version = sealed.read_edited(path, way_out).get("format")
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"policy {str(directory)!r} has format {version!r}; allowed: 1 to {FORMAT}, which this jaxbandit reads; "
            "a newer one reads newer ones"
        )
    content = sealed.read(path, way_out, always=version == FORMAT)
    wrong = misfit(content, Header) or _out_of_range(cast(Header, content))
    if wrong or version not in (1, FORMAT):
        raise damaged(directory, f"{HEADER} is not what was exported: {wrong or f'format is {version!r}'}")
    return cast(Header, content)


def _out_of_range(header: Header) -> str:
    """Name what cannot be in a policy; empty where all can."""
    sizes, programs = header["spec"], header["programs"]
    if not 1 <= sizes["slate_size"] <= sizes["num_actions"] or min(sizes["user_dim"], sizes["arm_dim"]) < 0:
        return f"spec is {sizes}"
    for name, about in programs.items():
        if not 1 <= about["users"]["least"] <= about["users"]["most"]:
            return f"users of {name} are {about['users']}"
    names = {ARRAYS, *programs}
    if ACTIONS not in programs or not names <= {ARRAYS, ACTIONS, PROBABILITIES} or set(header["files"]) != names:
        return f"files are {sorted(header['files'])}"
    return "" if len(sizes["reward_range"]) == 2 else f"reward_range is {sizes['reward_range']}"


def intact(directory: epath.Path, header: Header) -> dict[str, bytes]:
    """Read the files beside policy.json, after comparing their digests with those of the export.

    Raises:
        InputError: a file is missing or was changed.
    """
    files = {}
    for name, digest in header["files"].items():
        path = directory / name
        files[name] = path.read_bytes() if path.exists() else b""
        if sealed.digest(files[name]) != digest:
            raise damaged(directory, f"{name} is not what was exported")
    return files


def damaged(directory: epath.Path, what: str) -> InputError:
    """Build the error for a policy that is not as it was exported."""
    return InputError(f"policy {str(directory)!r} is damaged ({what}); allowed: delete it and export it again")
