"""The interaction log as an option of a run: a simulation whose agents record, and the writing of what they recorded.

`interaction_log` says what the files hold; `simulation.recording` is what runs inside the compiled program.
"""

import jax
import numpy as np

from jaxbandit._core import processes
from jaxbandit._core.errors import InputError
from jaxbandit.experiments import interaction_log
from jaxbandit.experiments.config import Config
from jaxbandit.experiments.interaction_log import Header, Log
from jaxbandit.experiments.run_directory import Places
from jaxbandit.simulation import chunks, recording
from jaxbandit.simulation.checkpoints import Checkpoints
from jaxbandit.simulation.chunks import State, Work
from jaxbandit.simulation.lanes import Simulation
from jaxbandit.types import Agent, Traced


def choose_samples(places: Places, resume: bool, log: bool, samples: int | None) -> int:
    """Choose the number of draws that estimate a propensity, in all processes; 0: nothing is logged.

    Raises:
        InputError: a run that is resumed was logged otherwise, or samples are given and nothing is logged.
    """

    def choose() -> np.ndarray:
        begun = resume and bool(Checkpoints(places.checkpoints).rounds())
        return np.array(interaction_log.choose_samples(places.results, resume, begun, log, samples))

    return int(processes.from_first(choose, lambda: np.zeros((), int)))


def recording_simulation(config: Config, simulation: Simulation, samples: int) -> tuple[Simulation, int]:
    """Let the agents of a simulation record their interactions; also return how many rounds they keep, those of a file.

    Raises:
        InputError: the world wants slates.
    """
    if simulation.environment.spec.slate_size > 1:
        raise InputError(
            f"log_interactions is set, but env {config.env} wants slates; allowed: an env that wants one arm"
        )
    example = recording.example(simulation.environment, simulation.params, config.batch_size)
    rounds = min(config.rounds, recording.rounds_per_chunk(example, config.seeds))

    def factory(**hyperparameters: Traced) -> Agent:
        return recording.recorded(simulation.factory(**hyperparameters), example, rounds, samples)

    return simulation._replace(factory=factory), rounds


class Recorder:
    """Writes the log of a run while it is simulated; of several processes the first one does."""

    def __init__(
        self, config: Config, simulation: Simulation, rounds_per_file: int, samples: int, places: Places
    ) -> None:
        """Describe the log of a run; `simulation` is the one that does not record yet."""
        header = Header(
            rounds=config.rounds,
            rounds_per_file=rounds_per_file,
            batch_size=config.batch_size,
            seeds=config.seeds,
            **interaction_log.sizes(simulation.environment.spec),
            propensity_exact=simulation.example_agent.probabilities is not None,
            propensity_samples=samples,
        )
        self._log, self._simulation, self._done = Log(places.results, header), simulation, 0

    def begin(self, work: Work, state: State) -> None:
        """Begin the log, or go on with it: rounds after the last checkpoint will be simulated again."""
        items = recording.catalogue(self._simulation.environment, self._simulation.params)
        self._done = chunks.rounds_done(work, state)

        processes.by_first(lambda: self._log.begin(items, *divmod(self._done, work.rounds)))

    def write(self, work: Work, state: State) -> None:
        """Write the interactions of the call that led to `state`."""
        tile, first = divmod(self._done, work.rounds)
        seed, config = work.tiles[tile]
        used = config[:, 0] >= 0  # the other rows only fill the tile up
        rows = jax.tree.map(lambda x: x[used, 0], processes.gather(state.carry.agent.rounds))
        self._done = chunks.rounds_done(work, state)
        stop = self._done - tile * work.rounds
        processes.by_first(lambda: self._log.write(tile, first, stop, seed[used], rows))
