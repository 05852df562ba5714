"""The cloud part of a launch from a TOML file and from flags over it. It asks no service."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.vertex import image
from jaxbandit.vertex.cloud import PAIRS, SWITCHES, WORDS, Cloud
from jaxbandit.vertex.rules import checked

KINDS: dict[str, type | tuple[type, ...]] = {"replicas": int, "price": (int, float)}
KINDS |= dict.fromkeys(SWITCHES, bool) | dict.fromkeys(PAIRS, dict)


def read_cloud(path: str | None, given: Mapping[str, Any]) -> Cloud:
    """Read a TOML file, put given values over it, and check the whole.

    Raises:
        InputError: the file cannot be read or has an unknown entry, or a value is missing or wrong.
    """
    entries: dict[str, Any] = {}
    if path is not None:
        try:
            entries = tomllib.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cloud is {path!r}, which cannot be read: {error}; allowed: a TOML file") from None
    entries = {name.replace("-", "_"): value for name, value in entries.items()}
    for name, value in entries.items():
        if name not in WORDS:
            raise refused_name(f"{path} has an unknown entry", name, WORDS)
        inner = list(value.values()) if isinstance(value, dict) else [""]
        is_kind = isinstance(value, KINDS.get(name, str)) and all(isinstance(text, str) for text in inner)
        if isinstance(value, bool) != (name in SWITCHES) or not is_kind:
            raise InputError(f"{name} is {value!r} in {path}; allowed: {WORDS[name]}")
    if "price" in entries:
        entries["price"] = float(entries["price"])
    given = {name: value for name, value in given.items() if value is not None}
    return changed(Cloud(**entries), given)


def changed(cloud: Cloud, given: Mapping[str, Any]) -> Cloud:
    """Put values over a cloud part, and check the whole; another machine has another price.

    Raises:
        InputError: a value is missing or wrong.
    """
    price = cloud.price if given.get("machine", cloud.machine) == cloud.machine else None
    cloud = replace(cloud, **{"price": price} | dict(given))
    return checked(replace(cloud, image=image.named(cloud)) if cloud.machine else cloud)
