"""Machines, the cloud part and the exact requests, with the real protos and without any service."""

import json

import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.cli import launch as commands
from jaxbandit.cli import prepare
from jaxbandit.cli.flags import log_options, run_options, sweep_options
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.experiments.config import Config
from jaxbandit.vertex import preview, requests
from jaxbandit.vertex.cloud import Cloud
from jaxbandit.vertex.cloud_file import read_cloud
from jaxbandit.vertex.machines import GPUS, MACHINES, TPUS, find
from jaxbandit.vertex.rules import checked, duration
from jaxbandit.vertex.study import Study, read_parameters

ENTRIES = {
    "project": "lab-project",
    "region": "us-central1",
    "bucket": "gs://lab/folder",
    "image": "us-docker.pkg.dev/lab/r/jaxbandit:0123abc",
    "machine": "cpu-8",
}
RESERVATION = "projects/p/zones/us-central1-a/reservations/r"
WHEEL = ["--env", "wheel", "--seeds", "2"]


def cloud(**changes: object) -> Cloud:
    return checked(Cloud(**ENTRIES | changes))


def body(launch) -> dict:
    (post,) = json.loads(preview.dry_run(launch))
    return post["body"]


def test_every_machine_is_a_spec_that_the_service_knows():
    v1 = pytest.importorskip("google.cloud.aiplatform_v1")
    for name, machine in MACHINES.items():
        spec = v1.MachineSpec.from_json(json.dumps(machine.spec))
        assert spec.machine_type, name
        assert bool(spec.accelerator_type) == (machine.platform == "cuda"), name
        assert bool(spec.tpu_topology) == (machine.platform == "tpu"), name
    for counts in GPUS.values():
        assert all(v1.AcceleratorType[kind] for kind in counts)


@pytest.mark.parametrize(
    ("name", "spec", "hosts"),
    [
        ("cpu-16", {"machineType": "n1-standard-16"}, 1),
        ("t4x1", {"machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}, 1),
        ("l4x1", {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}, 1),
        ("a100x1", {"machineType": "a2-highgpu-1g", "acceleratorType": "NVIDIA_TESLA_A100", "acceleratorCount": 1}, 1),
        ("h100x1", {"machineType": "a3-highgpu-1g", "acceleratorType": "NVIDIA_H100_80GB", "acceleratorCount": 1}, 1),
        ("v5e-8", {"machineType": "ct5lp-hightpu-8t", "tpuTopology": "2x4"}, 1),
        ("v6e-4", {"machineType": "ct6e-standard-4t", "tpuTopology": "2x2"}, 1),
        ("v5e-256", {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "16x16"}, 64),
        ("v7x-8", {"machineType": "tpu7x-standard-4t", "tpuTopology": "2x2x2"}, 2),
    ],
)
def test_short_names_stand_for_these_machines(name, spec, hosts):
    assert find(name).spec == spec
    assert find(name).hosts == hosts


def test_googles_names_take_an_accelerator_or_a_topology():
    assert find("n1-standard-16", "NVIDIA_TESLA_T4:2").spec["acceleratorCount"] == 2
    assert find("n1-standard-16").platform == "cpu"
    assert find("g2-standard-24").spec["acceleratorCount"] == 2
    assert find("ct5lp-hightpu-4t", topology="2x4").hosts == 2
    assert find("ct6e-standard-8t") == find("v6e-8")


@pytest.mark.parametrize(
    ("machine", "accelerator", "topology", "words"),
    [
        ("h100x3", "", "", "unknown machine 'h100x3': did you mean 'h100x"),
        ("TPU_v3", "", "", "unknown machine 'TPU_v3'"),
        ("v5e-8", "", "4x4", "topology is '4x4' of machine v5e-8; allowed: 2x4"),
        ("ct5lp-hightpu-4t", "", "2x8", "topology is '2x8'"),
        ("ct5lp-hightpu-4t", "", "", "topology is '' of machine ct5lp-hightpu-4t; allowed: 2x2, 2x4, 4x4"),
        ("l4x1", "", "2x4", "allowed: no topology"),
        (
            "g2-standard-12",
            "NVIDIA_L4:2",
            "",
            "accelerator is 'NVIDIA_L4:2' of machine g2-standard-12; allowed: NVIDIA_L4:1",
        ),
        ("n1-standard-8", "NVIDIA_H100_80GB:1", "", "allowed: NVIDIA_TESLA_T4:1, NVIDIA_TESLA_T4:2, NVIDIA_TESLA_T4:4"),
        ("n1-standard-96", "NVIDIA_TESLA_T4:1", "", "allowed: NVIDIA_TESLA_T4:4"),
        ("v5e-8", "NVIDIA_L4:1", "", "allowed: no accelerator"),
        ("ct6e-standard-8t", "TPU_V3:8", "", "a TPU; allowed: no accelerator"),
    ],
)
def test_machines_that_do_not_exist_are_refused_with_what_does(machine, accelerator, topology, words):
    with pytest.raises(InputError) as refused:
        find(machine, accelerator, topology)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"project": ""}, "project is missing; allowed: --project or --cloud FILE"),
        ({"region": "us"}, "region is 'us'; allowed: a region, as us-central1"),
        ({"bucket": "lab"}, "bucket is 'lab'; allowed: gs://BUCKET"),
        ({"bucket": "s3://lab"}, "allowed: gs://BUCKET"),
        ({"image": "us-docker.pkg.dev/lab/r/jaxbandit"}, "allowed: NAME:TAG"),
        ({"image": "localhost:5000/jaxbandit"}, "allowed: NAME:TAG"),
        ({"image": "lab/jaxbandit:0123abc-tpu"}, "built for tpu, but machine cpu-8 wants cpu"),
        (
            {"machine": "l4x1", "image": "lab/jaxbandit:0123abc-cpu-dirty"},
            "built for cpu, but machine l4x1 wants cuda12",
        ),
        ({"tensorboard": "bandits"}, "service_account is missing"),
        ({"service_account": "me"}, "allowed: the e-mail address"),
        ({"machine": "v5e-8", "replicas": 2}, "replicas is 2 of a TPU; allowed: 1"),
        ({"replicas": 0}, "replicas is 0"),
        ({"machine": "v5e-16", "scheduling": "spot"}, "a TPU slice of several hosts; allowed: standard"),
        ({"scheduling": "sport"}, "unknown scheduling 'sport': did you mean 'spot'?"),
        (
            {"scheduling": "flex-start", "max_wait": "2h"},
            "scheduling is flex-start of cpu-8; allowed: machines with L4",
        ),
        ({"scheduling": "flex-start", "machine": "t4x1", "max_wait": "2h"}, "flex-start of t4x1"),
        (
            {"scheduling": "flex-start", "machine": "h100x1"},
            "max_wait is ''; allowed: a duration, or 0 for ever, with flex-start",
        ),
        ({"max_wait": "2h"}, "max_wait is '2h'; allowed: a duration, or 0 for ever, with flex-start, none without"),
        ({"timeout": "8d"}, "timeout is '8d'; allowed: a duration up to 7d"),
        ({"timeout": "0h"}, "timeout is '0h'"),
        ({"price": -1.0}, "price is -1.0"),
        ({"experiment": "My runs"}, "experiment is 'My runs'"),
        ({"experiment": "runs"}, "service_account is missing; allowed with experiment"),
        ({"machine": "h100x1"}, "scheduling is standard of h100x1; allowed: spot, or flex-start with max_wait"),
        ({"machine": "a3-highgpu-4g"}, "scheduling is standard of a3-highgpu-4g; allowed: spot"),
        ({"machine": "b200x8"}, "allowed: spot, flex-start with max_wait, or a reservation"),
        ({"machine": "b200x8", "scheduling": "spot", "disk": "pd-ssd:200"}, "allowed: hyperdisk-balanced:GB"),
        ({"disk": "50"}, "disk is '50'; allowed: GB from 100"),
        ({"disk": "floppy:200"}, "disk is 'floppy:200'; allowed: GB from 100 to 65536, or TYPE:GB of pd-ssd"),
        ({"disk": "big"}, "disk is 'big'; allowed: GB, or TYPE:GB"),
        ({"reservation": "mine"}, "reservation is 'mine'; allowed: projects/"),
        ({"reservation": RESERVATION, "scheduling": "spot"}, "reservation is given with scheduling spot"),
        ({"persistent_resource": "pool", "scheduling": "spot"}, "persistent_resource has machines already"),
        ({"label": {"Team": "a"}}, "label is 'Team=a'; allowed: up to 63 of lower-case letters"),
        ({"label": {"jaxbandit-id": "a"}}, "label is 'jaxbandit-id=a', by which the launcher"),
        ({"set_env": {"AIP_MODEL_DIR": "a"}}, "which the launcher or Vertex AI sets"),
        ({"set_env": {"2": "a"}}, "set_env is '2=a'; allowed: NAME=TEXT"),
        ({"machine": "g4-standard-48", "scheduling": "flex-start", "max_wait": "0"}, "flex-start of g4-standard-48"),
    ],
)
def test_a_cloud_part_that_cannot_be_is_refused(changes, words):
    with pytest.raises(InputError) as refused:
        cloud(**changes)
    assert words in str(refused.value)


def test_images_for_the_machine_are_taken():
    for image in ("lab/j:v1", "localhost:5000/j:0123abc-cpu", f"lab/j@sha256:{'0' * 64}", "lab/j:0123abc-cpu-dirty"):
        assert cloud(image=image).image == image
    assert cloud(image="lab/j:0-cuda13", machine="a100x1")


def test_a_file_holds_the_cloud_part_and_flags_win(tmp_path):
    path = tmp_path / "cloud.toml"
    path.write_text('project = "from-file"\nservice-account = "a@b"\nreplicas = 2\nprice = 1\n')
    read = read_cloud(str(path), ENTRIES | {"price": None})
    assert (read.project, read.service_account, read.replicas) == ("lab-project", "a@b", 2)
    assert read.price is None  # a price in a file is that of the machine there
    path.write_text('enable-web-access = true\n[label]\nteam = "a"\n[set-env]\nX = "1"\n')
    more = read_cloud(str(path), ENTRIES | {"set_env": {"Y": "2"}})
    assert (more.enable_web_access, more.label, more.set_env) == (True, {"team": "a"}, {"Y": "2"})
    path.write_text('machine = "cpu-8"\nprice = 1.5\n')
    assert read_cloud(str(path), ENTRIES).price == 1.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("projet = 'x'", "has an unknown entry 'projet': did you mean 'project'?"),
        ("replicas = '2'", "replicas is '2'"),
        ("price = true", "price is True"),
        ("enable_web_access = 'yes'", "enable_web_access is 'yes'"),
        ("label = 'a=b'", "label is 'a=b'"),
        ("[set-env]\nX = 1", "set_env is {'X': 1}"),
        ("= 3", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(text, words, tmp_path):
    (tmp_path / "cloud.toml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_cloud(str(tmp_path / "cloud.toml"), ENTRIES)
    assert words in str(refused.value)


def test_durations_are_seconds():
    assert [duration("timeout", text) for text in ("90s", "1.5h", "2d", "7d")] == [90, 5400, 172_800, 604_800]


def test_a_training_is_one_job_with_the_same_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracked = {"experiment": "bandits", "service_account": "a@b"}
    launch = prepare.training([*WHEEL, "--alpha=3"], cloud(**tracked, machine="l4x2", scheduling="spot"))
    job = body(launch)
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    assert pool["containerSpec"]["args"] == ["run", *WHEEL, "--alpha=3"]
    env = {entry["name"]: entry["value"] for entry in pool["containerSpec"]["env"]}
    assert env == {
        "JAX_PLATFORMS": "cuda",
        "JAXBANDIT_DATA": "gs://lab/folder/_data",
        "JAXBANDIT_PROGRAMS": "gs://lab/folder/_programs",
        "JAXBANDIT_EXPERIMENT": "bandits",
        "JAXBANDIT_EXPERIMENT_RUN": f"{launch.name}-train",
        "JAXBANDIT_REGION": "us-central1",
    }
    assert job["jobSpec"]["scheduling"] == {
        "timeout": "14400s",
        "strategy": "SPOT",
        "restartJobOnWorkerRestart": False,
        "disableRetries": False,
    }
    assert body(prepare.training(WHEEL, cloud()))["jobSpec"]["scheduling"]["disableRetries"]  # a crash would repeat
    assert not body(prepare.training(WHEEL, cloud(replicas=2)))["jobSpec"]["scheduling"]["disableRetries"]
    assert job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == f"gs://lab/folder/{launch.name}/train"
    assert job["labels"]["jaxbandit-launch"] == launch.name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, {"cpus": 8}),
        ({"machine": "t4x1", "scheduling": "spot"}, {"preemptible_nvidia_t4_gpus": 1, "preemptible_cpus": 8}),
        (
            {"machine": "h100x1", "scheduling": "flex-start", "max_wait": "0"},
            {"preemptible_nvidia_h100_gpus": 1, "preemptible_a3_cpus": 26},
        ),
        ({"machine": "a100x16"}, {"nvidia_a100_gpus": 16, "a2_cpus": 96}),
        ({"machine": "n2-highmem-32"}, {"n2_cpus": 32}),
        ({"machine": "v5e-8"}, {"tpu_v5e": 8}),
        ({"machine": "b200x8", "reservation": RESERVATION}, {}),
    ],
)
def test_a_job_draws_on_the_quota_of_its_gpus_and_of_its_cpus(changes, needed):
    metrics = {f"aiplatform.googleapis.com/custom_model_training_{name}": n for name, n in needed.items()}
    assert requests.quota(cloud(**changes), 1) == metrics


@pytest.mark.parametrize(
    "name", ["n1-highcpu-16", "n2-highmem-32", "e2-standard-4", "e2-highcpu-16", "g4-standard-96", "a2-megagpu-16g"]
)
def test_machines_of_googles_names(name):
    machine = find(name)
    assert machine.spec["machineType"] == name
    assert machine.platform == ("cuda" if "g" in name.partition("-")[0] + name[-1] else "cpu")


def test_what_goes_into_a_request_as_it_is_asked_for(tmp_path, monkeypatch):
    v1 = pytest.importorskip("google.cloud.aiplatform_v1")
    monkeypatch.chdir(tmp_path)
    more = {"machine": "b200x8", "reservation": RESERVATION, "enable_web_access": True, "disk": "300"}
    more |= {"label": {"team": "bandits"}, "set_env": {"XLA_FLAGS": "--xla_x=1"}}
    job = v1.CustomJob.from_json(json.dumps(body(prepare.training(WHEEL, cloud(**more)))))
    (pool,) = job.job_spec.worker_pool_specs
    assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("hyperdisk-balanced", 300)
    affinity = pool.machine_spec.reservation_affinity
    assert (affinity.reservation_affinity_type.name, affinity.values) == ("SPECIFIC_RESERVATION", [RESERVATION])
    assert job.job_spec.enable_web_access
    assert job.labels["team"] == "bandits"
    assert {variable.name: variable.value for variable in pool.container_spec.env}["XLA_FLAGS"] == "--xla_x=1"
    held = v1.CustomJob.from_json(json.dumps(body(prepare.training(WHEEL, cloud(persistent_resource="pool")))))
    assert held.job_spec.persistent_resource_id == "pool"
    for_ever = cloud(machine="b200x8", scheduling="flex-start", max_wait="0")
    spec = body(prepare.training(WHEEL, for_ever))["jobSpec"]
    assert spec["scheduling"]["maxWaitDuration"] == "0s"
    assert spec["workerPoolSpecs"][0]["diskSpec"]["bootDiskType"] == "hyperdisk-balanced"


def test_the_image_of_this_commit(monkeypatch):
    monkeypatch.setattr("jaxbandit.vertex.image._git", lambda *words: "0123abc" if words[0] == "rev-parse" else "")
    auto = read_cloud(None, ENTRIES | {"image": "auto"})
    assert auto.image == "us-central1-docker.pkg.dev/lab-project/jaxbandit/jaxbandit:0123abc-cpu"
    assert read_cloud(None, ENTRIES | {"image": "r/j:auto", "machine": "l4x1"}).image == "r/j:0123abc-cuda12"
    monkeypatch.setattr("jaxbandit.vertex.image._git", lambda *words: "0123abc" if words[0] == "rev-parse" else " M x")
    assert read_cloud(None, ENTRIES | {"image": "r/j:auto", "machine": "v5e-8"}).image == "r/j:0123abc-tpu-dirty"


def test_no_checkout_has_no_image_of_its_commit(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxbandit.vertex.image.SOURCE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="does not run from a checkout"):
        read_cloud(None, ENTRIES | {"image": "auto"})


def test_several_processes_are_told_that_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = [*WHEEL, "--grid", "alpha=1,2"]
    pools = body(prepare.sweeping(grid, cloud(replicas=4)))["jobSpec"]["workerPoolSpecs"]
    assert [pool["replicaCount"] for pool in pools] == [1, 3]
    slice_ = body(prepare.sweeping(grid, cloud(machine="v6e-16")))["jobSpec"]
    (pool,) = slice_["workerPoolSpecs"]
    assert pool["replicaCount"] == 1
    assert slice_["scheduling"]["restartJobOnWorkerRestart"]
    for spec in (*pools, pool):
        assert spec["containerSpec"]["args"] == ["sweep", *grid, "--distributed"]
    (pool,) = body(prepare.sweeping(grid, cloud(machine="v6e-8")))["jobSpec"]["workerPoolSpecs"]
    assert pool["containerSpec"]["args"] == ["sweep", *grid]


def test_requests_are_what_the_protos_of_the_service_hold(tmp_path, monkeypatch):
    v1 = pytest.importorskip("google.cloud.aiplatform_v1")
    monkeypatch.chdir(tmp_path)
    board = {"tensorboard": "projects/1/locations/us-central1/tensorboards/2", "service_account": "a@b"}
    where = cloud(**board, machine="h100x1", scheduling="flex-start", max_wait="12h")
    tune = ["alpha=double:log:0.01:30", "batch-size=discrete:32,64", "agent=categorical:linucb,lints"]
    study = Study(read_parameters(tune), trials=6, parallel=3, stop_early="median")
    launch = prepare.tuning(WHEEL, where, study, ["seeds=4"])
    first, last = json.loads(preview.dry_run(launch))
    job = v1.HyperparameterTuningJob.from_json(json.dumps(first["body"]))
    assert first["post"].endswith("/v1/projects/lab-project/locations/us-central1/hyperparameterTuningJobs")
    assert (job.max_trial_count, job.parallel_trial_count, job.max_failed_trial_count) == (6, 3, 3)
    assert [p.parameter_id for p in job.study_spec.parameters] == ["alpha", "batch-size", "agent"]  # flags, with dashes
    assert job.study_spec.parameters[0].scale_type.name == "UNIT_LOG_SCALE"
    assert list(job.study_spec.parameters[1].discrete_value_spec.values) == [32, 64]
    assert list(job.study_spec.parameters[2].categorical_value_spec.values) == ["linucb", "lints"]
    assert "median_automated_stopping_spec" in job.study_spec
    assert job.study_spec.metrics[0].metric_id == "final_average_return"
    assert job.trial_job_spec.scheduling.max_wait_duration.total_seconds() == 12 * 3600
    assert job.trial_job_spec.tensorboard == board["tensorboard"]
    final = v1.CustomJob.from_json(json.dumps(last["body"])).job_spec
    uri = f"gs://lab/folder/{launch.name}/hptuning/result.json"
    assert list(final.worker_pool_specs[0].container_spec.args) == ["run", f"--config={uri}", "--seeds=4"]


def test_needs_are_quota_waves_and_an_upper_bound_of_cost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = cloud(machine="l4x2", scheduling="spot", timeout="90m", price=2.0, replicas=3)
    tuned = read_parameters(["alpha=double:0.01:30"])
    study = Study(tuned, trials=10, parallel=4)
    text = "\n".join(preview.needs(prepare.tuning(WHEEL, where, study, [])))
    assert "24 of aiplatform.googleapis.com/custom_model_training_preemptible_nvidia_l4_gpus in us-central1" in text
    assert "10 trials, 4 at a time: 3 waves of at most 90m" in text
    assert "at most 45.0 machine hours" in text
    assert "at most 99.00 US dollars" in text  # (10 trials + 1) x 3 machines x 1.5 h x 2 $
    assert "warning" not in text
    crowded = preview.needs(prepare.tuning(WHEEL, where, Study(tuned, trials=6, parallel=6)))
    assert "warning: 6 of 6 trials at a time" in crowded[-1]


def test_no_flag_of_the_launcher_is_one_of_the_trainer():
    launchers = {
        option for command in ("train", "sweep") for p in commands.launch.commands[command].params for option in p.opts
    }
    tuners = {option for p in commands.launch.commands["hpt"].params for option in p.opts}
    for agent in AGENTS:
        for env in ENVIRONMENTS:
            args = ["--agent", agent, "--env", env]
            assert not tuners & {p.opts[0] for p in (*run_options(args, Config()), *log_options())}, (agent, env)
            assert not launchers & {p.opts[0] for p in sweep_options(args, Config())}, (agent, env)


def test_every_tpu_topology_fills_whole_hosts():
    for machine_type, topologies in TPUS.items():
        for topology in topologies:
            machine = find(machine_type, topology=topology)
            assert machine.hosts * int(machine_type.rpartition("-")[2].removesuffix("t")) == machine.number
