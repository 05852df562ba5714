"""Buckets that are not mounted: what gcsfs, epath and orbax make of gs://, on a local server of Cloud Storage."""

import pytest

from tests.command_line import end, shell, start

gcsfs = pytest.importorskip("gcsfs.core")  # not what asks for the kind of a bucket, by gRPC
pytest.importorskip("google_crc32c")

WHEEL = ("--env", "wheel", "--batch-size", "8", "--training-loops", "24", "--steps-per-loop", "5", "--seeds", "2")


@pytest.fixture
def storage(tmp_path):
    from tests.cloud.storage import Storage

    storage = Storage(tmp_path / "buckets", {"lab": "US-CENTRAL1"})
    yield storage
    storage.close()


@pytest.fixture
def container(storage, tmp_path) -> dict[str, object]:
    """The environment of a container without a mount, whose three places are in the bucket."""
    host = f"http://127.0.0.1:{storage.server_port}"
    places = {"AIP_MODEL_DIR": "model", "AIP_CHECKPOINT_DIR": "checkpoints", "AIP_TENSORBOARD_LOG_DIR": "logs"}
    return {
        **{name: f"gs://lab/job/{place}/" for name, place in places.items()},
        "STORAGE_EMULATOR_HOST": host,  # of gcsfs
        "TENSORSTORE_GCS_HTTP_URL": host,  # of orbax
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "NO_GCE_CHECK": "true",
        "JAXBANDIT_GCS_MOUNT": tmp_path / "no-mount",
    }


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_job_saves_and_goes_on_without_a_mount_to_the_numbers_of_a_laptop(storage, container, tmp_path) -> None:
    command = ("run", *WHEEL, "--checkpoint-every", "8")
    first = end(start(*command, **container))
    assert first.status == 0, first
    there = storage.directory / "lab" / "job"
    digests = sorted((there / "checkpoints").glob("*.sha256"))
    assert len(digests) == 2
    for path in (digests[1], there / "model/summary.json", there / "model/metrics.csv"):
        path.unlink()
    again = end(start(*command, **container))
    assert again.status == 0, again
    begun = next(line for line in again.err.splitlines() if line.startswith("simulating"))
    assert int(begun.partition("%")[0].split()[-1]) > 50
    assert shell("run", *WHEEL, "--out", tmp_path / "home").status == 0
    assert (there / "model/metrics.csv").read_bytes() == (tmp_path / "home/metrics.csv").read_bytes()
    assert not list((tmp_path / "buckets").glob("gs*"))
    assert (there / "model/policy/policy.json").exists()


@pytest.mark.timeout(30)
def test_the_server_takes_what_gcsfs_sends(storage) -> None:
    host = f"http://127.0.0.1:{storage.server_port}"
    files = gcsfs.GCSFileSystem(token="anon", endpoint_url=host, use_listings_cache=False)
    large = bytes(range(256)) * 2100  # more than two pieces of 256 KiB
    with files.open("lab/a/large", "wb", block_size=2**18) as file:
        file.write(large)
    files.pipe_file("lab/a/small", b"--line\n")
    assert (storage.directory / "lab/a/large").read_bytes() == large
    files.mv("lab/a/small", "lab/b")
    files.copy("lab/b", "lab/c")
    assert files.cat_file("lab/c") == b"--line\n"
    assert files.cat_file("lab/a/large", start=-256) == large[-256:]
    assert files.ls("lab", detail=False) == ["lab/a", "lab/b", "lab/c"]
    assert files.isdir("lab/a")
    files.rm("lab/a", recursive=True)
    assert not files.exists("lab/a")
    with pytest.raises(FileNotFoundError):
        files.cat_file("lab/a/large")
