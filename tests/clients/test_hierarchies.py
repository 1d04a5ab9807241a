"""Hierarchies as users write, train, save and misuse them."""

import itertools
import warnings

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyvae
from pyvae import guides
from tests.clients.hierarchies import DIM, ladder, maps, markov, mlp, one_layer, seeing

MAKERS = (markov, seeing, ladder)
every = pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
#: the ladder alone, unless there is time
ladder_first = pytest.mark.parametrize(
    "make", [pytest.param(m, id=m.__name__, marks=() if m is ladder else pytest.mark.slow) for m in MAKERS]
)


def toy(count=64):
    return torch.randn(count, 2) @ torch.randn(2, DIM) * 2 + 0.1 * torch.randn(count, DIM)


def train(pair, *data, steps=150):
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(*data) for _ in range(steps)]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
    assert all(p.grad is not None for p in pair.parameters())


@every
def test_svi_trains_every_parameter(make):
    pair, x = make(), toy()
    before = {n: p.detach().clone() for n, p in pair.named_parameters()}
    train(pair, x)
    assert not any(torch.equal(p, before[n]) for n, p in pair.named_parameters())
    assert len(pyro.get_param_store()) == len(before)


@every
def test_draws_predictions_and_conditioning(make):
    pair, x = make(), toy(5)
    assert pair.depth == 3
    assert pair.model(size=3).shape == (3, DIM)
    assert pair.guide(x).shape == (5, 4 if make is ladder else 2)
    draws = Predictive(pair.model, guide=pair.guide, num_samples=7, parallel=True)(x)
    assert [draws[f"z_{t}"].shape for t in (1, 2, 3)] == [(7, 5, 2), (7, 5, 3), (7, 5, 4)]
    generated = Predictive(pair.model, num_samples=7)(size=5)
    assert generated["x"].shape == (7, 5, DIM)
    z = torch.randn(5, 4)
    trace = poutine.trace(poutine.condition(pair.model, data={"z_3": z})).get_trace(size=5)
    assert torch.equal(trace.nodes["z_3"]["value"], z)
    torch.testing.assert_close(trace.nodes["x"]["fn"].mean, pair.likelihood(z).mean)
    assert trace.nodes["z_3"]["is_observed"]
    assert not trace.nodes["z_2"]["is_observed"]


@ladder_first
def test_conditional_hierarchies_train_and_generate(make):
    means, y = 4 * torch.randn(3, DIM), torch.arange(60) % 3
    pair, x = make(3), means[y] + 0.3 * torch.randn(60, DIM)
    train(pair, x, y, steps=300)
    wanted = torch.tensor([0, 2]).repeat_interleave(200)
    drawn = pair.model(y=wanted)
    nearest = torch.cdist(drawn, means).argmin(-1)
    assert (nearest == wanted).float().mean() > 0.9
    assert pyvae.elbo(pair, (x, y), num_particles=3).per_datapoint.shape == (60,)
    with pytest.raises(pyvae.DataError, match="got no labels y"):
        pair.model(x)


@every
def test_every_component_gets_the_context_last(make):
    pair, x, y, seen = make(3), toy(4), torch.tensor([2, 0, 1, 1]), []
    guide = pair.features.stages if make is ladder else [pair.posterior, *pair.reverse_transitions]
    components = [pair.prior, *pair.transitions, pair.likelihood, *guide]
    for component in components:
        component.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs[-1])))
    pair.guide(x, y)
    pair.model(x, y)
    assert {id(module) for module, _ in seen} == {id(c) for c in components}
    assert all(torch.equal(c, torch.eye(3)[y]) for _, c in seen)


@every
def test_labels_without_a_context_are_refused(make):
    pair, x, y = make(), toy(4), torch.tensor([0, 1, 2, 0])
    for program in (pair.model, pair.guide):
        with pytest.raises(pyvae.DataError, match="no context"):
            program(x, y)
    with pytest.raises(pyvae.DataError, match="no x"):
        pair.guide()


@pytest.mark.parametrize("cls", [pyvae.LadderVAE, pyvae.MarkovVAE])
def test_feature_maps_as_latents(cls):
    pair, x = maps(cls), torch.rand(5, 1, 16, 16).round()
    estimate = pyvae.elbo(pair, x, num_particles=3, seed=0)
    assert estimate.per_datapoint.shape == (5,)
    torch.manual_seed(0)
    torch.testing.assert_close(pyvae.log_weights(pair, x, num_particles=3).mean(0), estimate.per_datapoint)
    assert pair.model(size=2).shape == (2, 1, 16, 16)
    before = pyvae.elbo(pair, x, num_particles=100, seed=0).value
    pyvae.fit(pair, x, epochs=20, seed=0, progress=False)
    assert pyvae.elbo(pair, x, num_particles=100, seed=0).value > before + 1


@ladder_first
def test_particles_side_by_side_are_those_one_at_a_time(make):
    """The densities of given latents; of draws, the moments of the weights."""
    pair, x = make(), toy(4)
    with pyro.plate("particles", 3, dim=-2):
        guide = poutine.trace(pair.guide).get_trace(x)
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x)
    for trace in (guide, model):
        trace.compute_log_prob()
    for s in range(3):
        latents = {f"z_{t}": guide.nodes[f"z_{t}"]["value"][s] for t in (1, 2, 3)}
        for program, together in ((pair.guide, guide), (pair.model, model)):
            alone = poutine.trace(poutine.condition(program, data=latents)).get_trace(x)
            alone.compute_log_prob()
            for name in (*latents, "x") if program is pair.model else latents:
                torch.testing.assert_close(together.nodes[name]["log_prob"][s], alone.nodes[name]["log_prob"])
    many = pyvae.log_weights(pair, x, num_particles=2000)
    single = torch.cat([pyvae.log_weights(pair, x, num_particles=1) for _ in range(300)])
    error = (many.var(0) / 2000 + single.var(0) / 300).sqrt()
    assert ((many.mean(0) - single.mean(0)).abs() < 4 * error).all()


def history(pair, x, **arguments):
    settings = {"epochs": 3, "batch_size": 16, "seed": 1, "progress": False, "validation": x[:20]} | arguments
    return pyvae.fit(pair, x, **settings).history


@pytest.mark.parametrize("objective", [None, Trace_ELBO(), Trace_ELBO(num_particles=2, vectorize_particles=True)])
@every
def test_fit_logs_the_terms_which_add_up(make, objective):
    for row in history(make(), toy(), objective=objective):
        for part in ("train", "validation"):
            terms = [row[f"{part}_kl_z_{t}"] for t in (1, 2, 3)]
            assert sum(terms) == pytest.approx(row[f"{part}_kl"], rel=1e-5)
            assert row[f"{part}_reconstruction"] - row[f"{part}_kl"] == pytest.approx(row[f"{part}_elbo"], rel=1e-5)
        assert row["train_loss"] == pytest.approx(-row["train_elbo"], rel=1e-5)
    bare = {name for name in row if "kl_" in name}
    assert bare == {f"{part}_kl_z_{t}" for part in ("train", "validation") for t in (1, 2, 3)}


def test_terms_of_the_log_are_those_of_their_sites():
    """Weights that hardly move: each logged term against the same term of many draws."""
    pair, x = ladder(), 3 * toy(2000)
    with torch.no_grad():
        pair.posteriors[0].network.bias += 0.5
    row = history(pair, x, epochs=1, batch_size=500, optimizer=lambda p: torch.optim.SGD(p, 1e-9), validation=x)[0]
    terms = {name: float(term.mean()) for name, term in pyvae.elbo(pair, x, num_particles=100, seed=0).kl_terms.items()}
    assert min(abs(a - b) for a, b in itertools.combinations(terms.values(), 2)) > 0.08
    for name, term in terms.items():
        assert row[f"train_kl_{name}"] == pytest.approx(term, abs=0.04)
        assert row[f"validation_kl_{name}"] == pytest.approx(term, abs=0.04)


def test_fit_of_one_latent_logs_no_terms():
    row = history(one_layer(), toy())[-1]
    assert {"train_kl", "validation_kl"} <= row.keys()
    assert not [name for name in row if "kl_" in name]


@ladder_first
def test_compiled_runs_log_the_same(make, interpreted):
    x, first = toy(), make()
    second = make()
    second.load_state_dict(first.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        eager, compiled = (history(p, x, compile=c) for p, c in ((first, False), (second, True)))
    assert len(interpreted) == 1
    for row, other in zip(eager, compiled, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-5)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


@every
def test_saved_weights_come_back(make, tmp_path):
    pair, other, x = make(), make(), toy(5)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    expected = pyvae.elbo(pair, x, seed=0)
    assert pyvae.elbo(other, x, seed=0).value != expected.value
    assert pyvae.load(tmp_path / "pair.safetensors", other) is other
    assert torch.equal(pyvae.elbo(other, x, seed=0).per_datapoint, expected.per_datapoint)
    with pytest.raises(pyvae.CheckpointError):
        pyvae.load(tmp_path / "pair.safetensors", one_layer())


class Fixed(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, *inputs):
        return self.output


def normal(inputs, outputs):
    return guides.DiagonalNormal(mlp(inputs, 2 * outputs), outputs)


def level(features, size):
    return guides.PrecisionWeighted(nn.Linear(features, 2 * size), size)


T = torch.zeros(2, 3)
MISFITS = [
    (markov, {"reverse_transitions": [normal(3, 2)]}, "got 1 reverse_transitions; expected 2, as many as transitions"),
    (markov, {"transitions": [normal(2, 4)]}, "got 2 reverse_transitions; expected 1"),
    (
        markov,
        {"reverse_transitions": [normal(3, 2), normal(4, 5)]},
        r"reverse_transitions\[1\]: event shape \(5,\) of z_2; .* transitions\[0\], \(3,\)",
    ),
    (
        markov,
        {"reverse_transitions": [normal(3, 1), normal(4, 3)]},
        r"reverse_transitions\[0\]: event shape \(1,\) of z_1; .* prior, \(2,\)",
    ),
    (
        markov,
        {"posterior": normal(DIM, 5)},
        r"posterior: event shape \(5,\) of z_3; expected .* transitions\[1\], \(4,\)",
    ),
    (markov, {"transitions": [normal(2, 3), Fixed(T)]}, r"^transitions\[1\]: Fixed returned Tensor"),
    (markov, {"transitions": [normal(2, 3), normal(7, 4)]}, r"^transitions\[1\]: DiagonalNormal failed on \(2, 3\)"),
    (markov, {"reverse_transitions": [Fixed(T), normal(4, 3)]}, r"reverse_transitions\[0\]: Fixed returned Tensor"),
    (markov, {"posterior": Fixed(T)}, "posterior: Fixed returned Tensor"),
    (markov, {"prior": Fixed(T)}, "prior: Fixed returned Tensor"),
    (markov, {"likelihood": Fixed(T)}, "likelihood: Fixed returned Tensor"),
    (markov, {"transitions": [normal(2, 3), len]}, r"(?s)transitions is .*expected a list of torch\.nn\.Modules"),
    (markov, {"transitions": normal(2, 3)}, r"(?s)transitions is .*expected a list of torch\.nn\.Modules"),
    (markov, {"reverse_transitions": None}, r"reverse_transitions is NoneType; expected a list of torch\.nn\.Modules"),
    (markov, {"posterior": len}, r"posterior is a builtin_function_or_method; expected a torch\.nn\.Module"),
    (markov, {"sees_data": True}, r"reverse_transitions\[1\]: DiagonalNormal failed"),
    (ladder, {"posteriors": [level(8, 2), level(9, 3)]}, "got 2 posteriors; expected 3, as many as latents"),
    (
        ladder,
        {"posteriors": [level(8, 2), level(9, 3), level(10, 7)]},
        r"posteriors\[2\]: event shape \(7,\)|posteriors\[2\]: PrecisionWeighted failed",
    ),
    (ladder, {"posteriors": [Fixed(T), level(9, 3), level(10, 4)]}, r"posteriors\[0\]: Fixed returned Tensor"),
    (ladder, {"posteriors": [level(8, 2), level(9, 3), len]}, r"(?s)posteriors is .*expected a list"),
    (ladder, {"transitions": [normal(2, 3)]}, "got 3 posteriors; expected 2"),
    (ladder, {"features": Fixed(T)}, "features: got Tensor; expected a tuple of 3"),
    (ladder, {"features": Fixed((T, T))}, "features: got 2 tensors; expected a tuple of 3"),
    (ladder, {"features": Fixed((T, T, T))}, r"posteriors\[0\]: PrecisionWeighted failed"),
    (ladder, {"features": len}, r"features is a builtin_function_or_method; expected a torch\.nn\.Module"),
]


@pytest.mark.parametrize(("make", "changes", "message"), MISFITS)
def test_components_that_do_not_fit_are_named(make, changes, message):
    with pytest.raises(pyvae.PairError, match=message):
        make(**changes)
