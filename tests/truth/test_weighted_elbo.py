"""WeightedELBO against Pyro's objectives, losses written by hand, and what it promises of training."""

import math
import warnings

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO

import pyvae
from pyvae.objectives import WarmUp, WeightedELBO
from tests.clients.hierarchies import DIM, ladder, markov, one_layer, seeing
from tests.compilation.comparing import assert_equal_to_eager, assert_same, compiled_results, eager_results
from tests.truth.losses import Bits, Plain, by_hand, mixture


@pytest.fixture
def x():
    return 2 * torch.randn(12, DIM)


KINDS = [(one_layer, True), (ladder, True), (markov, False), (seeing, False), (mixture, False)]
every = pytest.mark.parametrize(("make", "closed"), KINDS, ids=lambda k: getattr(k, "__name__", str(k)))


@pytest.mark.parametrize(("count", "vectorized"), [(1, False), (3, False), (3, True)])
@every
def test_without_weights_it_is_pyros_elbo(make, closed, count, vectorized, x):
    pair, settings = make(), {"num_particles": count, "vectorize_particles": vectorized}
    pyros, ours = (TraceMeanField_ELBO if closed else Trace_ELBO)(**settings), WeightedELBO(**settings)
    expected = eager_results(pair, pyros, x)
    assert_same(eager_results(pair, ours, x), expected, 1e-5)
    pyro.set_rng_seed(0)
    ours = WeightedELBO(**settings)  # at its first loss of several particles an objective draws to find the plates
    assert ours.loss(pair.model, pair.guide, x) == pytest.approx(float(expected[0]), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0, {"z_1": 0.3, "z_3": 2.0}], ids=str)
@every
def test_weights_are_those_of_a_loss_by_hand(make, closed, beta, x):
    pair = make()
    if isinstance(beta, dict) and not hasattr(pair, "depth"):
        beta = {"z": 0.3}

    def loss(reconstruction, terms):
        return (
            sum((beta.get(n, 1.0) if isinstance(beta, dict) else beta) * t for n, t in terms.items()) - reconstruction
        )

    assert_same(eager_results(pair, WeightedELBO(beta), x), by_hand(pair, x, loss, closed), 1e-5)


def test_warm_up():
    warm_up = WarmUp(epochs=4, delay=2, floor=0.1)
    assert [warm_up(e) for e in (1, 2, 3, 4, 5, 6, 7, 99)] == [0.1, 0.1, 0.25, 0.5, 0.75, 1, 1, 1]
    assert [WarmUp(2)(e) for e in (1, 2, 3)] == [0.5, 1, 1]
    for wrong in ({"epochs": 0}, {"epochs": 1, "delay": -1}, {"epochs": 1, "floor": 0}, {"epochs": 1, "floor": 1.1}):
        with pytest.raises(pyvae.ArgumentError, match="got epochs="):
            WarmUp(**wrong)


@pytest.mark.parametrize(
    ("beta", "first", "fifth"),
    [
        (lambda e: e / 10, 0.1, 0.5),
        (WarmUp(epochs=10), 0.1, 0.5),
        ({"z_2": WarmUp(10), "z_3": 3.0}, {"z_2": 0.1, "z_3": 3.0}, {"z_2": 0.5, "z_3": 3.0}),
    ],
)
def test_functions_of_the_epoch_in_a_loop_of_ones_own(beta, first, fifth, x):
    pair, objective = markov(), WeightedELBO(beta)
    assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(first), x))
    objective.at_epoch(5)
    assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(fifth), x))
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), objective)
    assert sum(svi.step(x) for _ in range(10)) > sum(svi.step(x) for _ in range(10))


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_free_bits_hold_back_the_gradient_of_a_term_below(beta, vectorized, x):
    """Of a closed form, whose value all particles share."""
    pair, settings = Plain(), {"num_particles": 2, "vectorize_particles": vectorized}
    kl = by_hand(pair, x, lambda _, terms: terms["z"], True)[0] / len(x)
    unweighted, grads = eager_results(pair, WeightedELBO(0.0, **settings), x)
    held, held_grads = eager_results(pair, WeightedELBO(beta, free_bits=float(kl) + 0.1, **settings), x)
    assert_same((held, held_grads), (unweighted + beta * (kl + 0.1) * len(x), grads), 1e-5)
    free = eager_results(pair, WeightedELBO(beta, free_bits=float(kl) - 0.1, **settings), x)
    assert_same(free, eager_results(pair, WeightedELBO(beta, **settings), x), 1e-5)
    assert not torch.allclose(free[1]["B"], held_grads["B"])


@pytest.mark.parametrize(("make", "closed"), KINDS[1:4], ids=["ladder", "markov", "seeing"])
def test_free_bits_are_those_of_each_site(make, closed, x):
    pair, found = make(), {}
    by_hand(
        pair, x, lambda r, terms: found.update({n: float(t.detach()) / len(x) for n, t in terms.items()}) or r, closed
    )
    low, middle, _ = sorted(found.values())
    bits = max((low + middle) / 2, 1e-3)  # from above the lowest term

    def loss(reconstruction, terms):
        return sum(t if found[n] > bits else 0 * t + bits * len(x) for n, t in terms.items()) - reconstruction

    assert_same(eager_results(pair, WeightedELBO(free_bits=bits), x), by_hand(pair, x, loss, closed), 1e-5)


@pytest.mark.parametrize("bits", [0.0, 0.2, 50.0])
def test_a_plate_of_more_data_scales_loss_and_gradients_and_not_the_threshold(bits, x):
    batch, whole = Plain(), Plain(size=120)
    whole.load_state_dict(batch.state_dict())
    objective = WeightedELBO(0.5, free_bits=bits)
    loss, gradients = eager_results(batch, objective, x)
    expected = (10 * loss, {n: 10 * g for n, g in gradients.items()})
    assert_same(eager_results(whole, objective, x), expected, 1e-5)


def test_what_it_cannot_do_is_refused_by_name(x):
    for run in (lambda p, o: eager_results(p, o, x), lambda p, o: trained(p, x, objective=o)):
        with pytest.raises(pyvae.PairError, match=r"site 'bits'.*not reparametrized"):
            run(Bits(), WeightedELBO())
        with pytest.raises(pyvae.PairError, match=r"beta names \['z_9'\].*\['z_1', 'z_2', 'z_3'\]"):
            run(markov(), WeightedELBO({"z_1": 1.0, "z_9": 2.0}))
        with pytest.raises(pyvae.PairError, match=r"beta names \['x'\]"):
            run(Plain(), WeightedELBO({"x": 1.0}))


@pytest.mark.parametrize("wrong", [-0.1, math.inf, math.nan, "1", None, lambda e: -1.0, {"z": -1.0}, {"z": WarmUp}])
def test_weights_out_of_range_are_refused(wrong):
    with pytest.raises((pyvae.ArgumentError), match="beta is"):
        WeightedELBO(wrong)
    if not callable(wrong) and not isinstance(wrong, dict):
        with pytest.raises(pyvae.ArgumentError, match="free_bits is"):
            WeightedELBO(free_bits=wrong)
    with pytest.raises(pyvae.ArgumentError, match="beta is"):
        WeightedELBO(lambda epoch: 2.0 - epoch).at_epoch(3)


def trained(pair, x, **arguments):
    settings = {"epochs": 3, "batch_size": 4, "seed": 1, "progress": False} | arguments
    return pyvae.fit(pair, x, **settings).history


def still(parameters):
    return torch.optim.SGD(parameters, 1e-9)


@pytest.mark.parametrize(("make", "unweighted"), [(markov, Trace_ELBO()), (Plain, TraceMeanField_ELBO())])
def test_fit_logs_the_elbo_beside_the_loss(make, unweighted, x):
    """On the same draws as an objective without weights, and against one draw more; KL in closed form where it is."""
    pair, beta = make(), 0.25
    rows = trained(pair, x, objective=WeightedELBO(beta, free_bits=0.0), optimizer=still, validation=x)
    plain = trained(pair, x, objective=unweighted, optimizer=still, validation=x)
    for row, expected in zip(rows, plain, strict=True):
        names = [n for n in expected if "elbo" in n or "kl" in n or "reconstruction" in n]
        assert len(names) >= 6
        assert {n: row[n] for n in names} == pytest.approx({n: expected[n] for n in names}, rel=1e-4)
        loss = beta * row["train_kl"] - row["train_reconstruction"]
        assert row["train_loss"] == pytest.approx(loss, rel=1e-4)
    estimate = pyvae.elbo(pair, x, num_particles=500, seed=0)
    spread = math.sqrt(len(rows) * 500) * estimate.standard_error / len(rows)
    assert abs(sum(r["train_elbo"] for r in rows) / len(rows) - estimate.value) < 4 * spread


def test_fit_tells_the_epoch_and_a_resumed_run_goes_on(tmp_path, x):
    seen = []

    def beta(epoch):
        seen.append(epoch)
        return epoch / 4

    def run(directory, epochs):
        torch.manual_seed(0)
        pair, objective = markov(), WeightedELBO(beta)
        seen.clear()
        rows = trained(pair, x, objective=objective, epochs=epochs, checkpoint_dir=directory, resume=True)
        return pair, rows

    straight, rows = run(tmp_path / "straight", 4)
    assert seen == [1, 2, 3, 4]
    for row in rows:
        loss = row["epoch"] / 4 * row["train_kl"] - row["train_reconstruction"]
        assert row["train_loss"] == pytest.approx(loss, rel=1e-4)
    run(tmp_path / "resumed", 2)
    resumed, again = run(tmp_path / "resumed", 4)
    assert seen == [3, 4]
    assert again == rows
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters(), strict=True))
    for other in (WeightedELBO(WarmUp(5)), WeightedELBO(beta, free_bits=0.1), Trace_ELBO()):
        with pytest.raises(pyvae.CheckpointError, match="objective"):
            trained(markov(), x, objective=other, epochs=5, checkpoint_dir=tmp_path / "resumed", resume=True)


@pytest.mark.parametrize("make", [one_layer, ladder, markov])
def test_compiled_training_takes_each_epochs_weight_without_tracing_again(make, interpreted, x):
    first, second, rows = make(), make(), []
    second.load_state_dict(first.state_dict())
    for pair, compiled in ((first, False), (second, True)):
        objective = WeightedELBO({"z": WarmUp(3)} if make is one_layer else WarmUp(3), 0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            rows.append(trained(pair, x, objective=objective, epochs=4, compile=compiled))
    assert len(interpreted) == 1
    for row, other in zip(*rows, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("make", [one_layer, ladder, markov, seeing])
def test_compiled_losses_are_the_eager_ones_and_follow_the_epoch(make, interpreted, x):
    pair, objective = make(), WeightedELBO(WarmUp(4), free_bits=0.1)
    compiled = assert_equal_to_eager(pair, objective, x, tolerance=1e-5)
    before = len(interpreted)
    objective.at_epoch(3)
    assert_same(compiled_results(compiled, x), eager_results(pair, WeightedELBO(0.75, free_bits=0.1), x), 1e-5)
    assert len(interpreted) == before == 1
