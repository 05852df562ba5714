import os
import subprocess
import sys

import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.data import WORLDS, Ratings, describe, generate, synth


@pytest.fixture(scope="module")
def small() -> Ratings:
    return synth("synth-100k")


def utilities(ratings: Ratings) -> np.ndarray:
    truth = ratings.truth
    return truth.mean + truth.user_bias[:, None] + truth.item_bias + truth.user @ truth.item.T


def test_synth_100k_has_the_marginals_of_ml_100k(small: Ratings) -> None:
    # Tolerances: over 40 seeds the recipe's own spread (1 s.d.) is .034 of the mean, .01 of the s.d., .01 of a share,
    # 2.7 and 3.4 of the counts, .01 of either Gini; its Gini of items is centred .03 above ML-100K's .63.
    found = describe(small)
    assert (found["users"], found["items"]) == (943, 1_750)
    assert found["ratings"] == pytest.approx(100_000, rel=0.08)
    assert found["mean"] == pytest.approx(3.53, abs=0.07)
    assert found["sd"] == pytest.approx(1.13, abs=0.03)
    np.testing.assert_allclose(list(found["stars"].values()), [0.06, 0.11, 0.27, 0.34, 0.21], atol=0.02)
    assert found["ratings_per_user"]["median"] == pytest.approx(65, abs=6)
    assert found["ratings_per_user"]["mean"] == pytest.approx(106, abs=8)
    assert found["ratings_per_user"]["gini"] == pytest.approx(0.47, abs=0.03)
    assert found["ratings_per_item"]["gini"] == pytest.approx(0.63, abs=0.04)


def damped_means(index: np.ndarray, values: np.ndarray, train: np.ndarray) -> np.ndarray:
    size = index.max() + 1
    sums, counts = np.bincount(index[train], values[train], size), np.bincount(index[train], minlength=size)
    return (sums / (5 + counts))[index]


def test_biases_alone_predict_synth_100k_as_well_as_ml_100k(small: Ratings) -> None:
    # By this very procedure ML-100K has .941 and synth-100k .936 over five splits, each split's own s.d. being .006.
    assert np.mean([bias_rmse(small, seed) for seed in range(3)]) == pytest.approx(0.93, abs=0.015)


def bias_rmse(small: Ratings, seed: int) -> float:
    train = np.random.default_rng(seed).random(len(small.rating)) < 0.9
    rest = small.rating - small.rating[train].mean()
    of_user = of_item = np.zeros_like(rest)
    for _ in range(10):  # backfitting to convergence
        of_item = damped_means(small.item, rest - of_user, train)
        of_user = damped_means(small.user, rest - of_item, train)
    return float(np.sqrt(np.mean((rest - of_user - of_item)[~train] ** 2)))


def test_synth_1m_scales_the_recipe() -> None:
    found = describe(synth("synth-1m"))
    assert (found["users"], found["items"]) == (6_040, 3_800)
    assert found["ratings"] == pytest.approx(1_000_000, rel=0.05)
    assert found["mean"] == pytest.approx(3.53, abs=0.07)
    assert found["ratings_per_user"]["max"] <= 0.44 * 3_800


def test_the_truth_explains_the_ratings(small: Ratings) -> None:
    truth, all_pairs = small.truth, utilities(small)
    assert truth.user_bias.std() == pytest.approx(0.42, abs=4 * 0.42 / np.sqrt(2 * 943))
    assert truth.item_bias.std() == pytest.approx(0.58, abs=4 * 0.58 / np.sqrt(2 * 1_750))
    # Sixteen products of two random samples: wider than one sample's standard error.
    assert (truth.user @ truth.item.T).std() == pytest.approx(0.50, abs=0.03)
    latent = all_pairs[small.user, small.item]
    # Stars add noise and rounding to the utility: sd(Z) / sd(stars) over the rated pairs is about .72.
    assert np.corrcoef(latent, small.rating)[0, 1] == pytest.approx(latent.std() / small.rating.std(), abs=0.05)
    stars = [small.rating[np.abs(latent - level) < 0.1].mean() for level in (2.0, 3.0, 4.0)]
    assert np.all(np.diff(stars) > 0.7)


def test_users_rate_what_they_like_more_than_chance_would(small: Ratings) -> None:
    appeal = utilities(small) - small.truth.user_bias[:, None]
    interaction = small.truth.user @ small.truth.item.T
    assert appeal[small.user, small.item].mean() - appeal.mean() > 0.2
    # Popularity explains no part of the interaction. E[x e^(.8x)] / E[e^(.8x)] = .8 var(x) = .2, less for heavy users.
    assert 0.08 < interaction[small.user, small.item].mean() < 0.2


def test_no_pair_is_rated_twice_and_every_user_rates_twenty_items(small: Ratings) -> None:
    pairs = small.user.astype(np.int64) * small.num_items + small.item
    assert len(np.unique(pairs)) == len(pairs)
    assert np.bincount(small.user).min() >= 20
    assert set(np.unique(small.rating)) == {1, 2, 3, 4, 5}


def test_a_world_is_the_same_on_every_call_and_another_with_another_seed(small: Ratings) -> None:
    again = synth("synth-100k")
    for one, other in ((small.item, again.item), (small.rating, again.rating), (small.truth.user, again.truth.user)):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(generate("x", WORLDS["synth-100k"]._replace(seed=1)).truth.user, small.truth.user)


def test_the_number_of_threads_does_not_change_a_world(monkeypatch: pytest.MonkeyPatch, small: Ratings) -> None:
    monkeypatch.setattr("jaxbandit.data.synthetic.cpu_count", lambda: 5)
    np.testing.assert_array_equal(synth("synth-100k").item, small.item)


def test_items_are_chosen_with_the_probabilities_of_a_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    # One rating per user, no taste: shares must be those of exp(popularity), within 4 standard errors.
    from jaxbandit.data import synthetic

    world = WORLDS["synth-100k"]._replace(num_users=20_000, num_items=8, activity_scale=0.0)
    for name, value in (("LEAST_RATINGS", 1), ("TASTE", 0.0), ("MOST_ITEMS", 1.0)):
        monkeypatch.setattr(synthetic, name, value)
    root = np.random.SeedSequence(world.seed).spawn(1 + -(-world.num_users // synthetic.BLOCK))[0]
    popularity = synthetic._population(np.random.default_rng(root), world).popularity.astype(np.float64)
    expected = np.exp(popularity) / np.exp(popularity).sum()
    found = np.bincount(generate("x", world).item, minlength=8) / world.num_users
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / world.num_users))


def test_an_unknown_world_is_refused() -> None:
    with pytest.raises(InputError, match=r"did you mean 'synth-100k'\?"):
        synth("synth-10k")


def test_the_data_package_does_not_import_jax() -> None:
    code = "import sys, jaxbandit.data; sys.exit('jax' in sys.modules)"
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
