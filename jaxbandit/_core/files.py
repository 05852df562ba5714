"""Where the files of a bucket are at hand: under a mount, as Vertex AI makes one, or nowhere. It opens nothing."""

import os

MOUNT = "JAXBANDIT_GCS_MOUNT"
SCHEME = "gs://"


def mounted(path: str) -> str:
    """Turn gs://bucket/x into the path where that bucket is mounted; other paths, and of other buckets, stay."""
    if not path.startswith(SCHEME):
        return path
    bucket, slash, name = path.removeprefix(SCHEME).partition("/")
    directory = os.path.join(_mount(), bucket)
    if not bucket.strip(".") or not os.path.isdir(directory):
        return path
    return directory + slash + name


def in_bucket(path: str) -> bool:
    """Whether a path is that of a bucket, or lies under the mount: there a file is an object, written as a whole."""
    return path.startswith(SCHEME) or os.path.abspath(path).startswith(os.path.join(os.path.abspath(_mount()), ""))


def _mount() -> str:
    return os.environ.get(MOUNT, "/gcs")
