"""What a seed means is the same everywhere: an int says all, and without one the global stream is asked for it."""

import copy

import pyro
import pytest
import torch
from torch import nn

import pyvae
from pyvae import likelihoods, priors, quantizers, recipes
from pyvae.diagnostics import compare, disentanglement, posterior_means
from pyvae.diagnostics.sections import bounds

ROWS = 60
FACTORS = torch.arange(ROWS)[:, None] % 3


def codes():
    """Three codes for each datapoint, which the guide draws."""
    return pyvae.VQVAE(
        prior=priors.FactorizedCodes((3,), num_codes=6),
        likelihood=likelihoods.Normal(nn.Sequential(nn.Flatten(-2), nn.Linear(6, 5)), event_shape=5),
        encoder=nn.Sequential(nn.Linear(5, 6), nn.Unflatten(-1, (2, 3))),
        quantizer=quantizers.SoftmaxQuantizer(6, 2),
    )


def levels():
    """Two levels, of which the lower one's mean depends on a draw of the other."""
    return recipes.hierarchical((5,), latent_dims=[2, 2], hidden=[8])


def trained(pair, x, seed):
    pair = copy.deepcopy(pair)
    result = pyvae.fit(pair, x, epochs=1, batch_size=20, seed=seed, progress=False)
    return torch.cat([torch.tensor([result.seed]), *(p.detach().flatten() for p in pair.parameters())])


def with_gaps(x):
    return torch.where(torch.arange(x.numel()).reshape(x.shape) % 7 == 0, torch.nan, x)


#: pairs, and figures that depend on the draws
CALLS = {
    "elbo": (levels, lambda p, x, s: pyvae.elbo(p, x, 2, s).per_datapoint),
    "log_likelihood": (levels, lambda p, x, s: pyvae.log_likelihood(p, x, 3, s).per_datapoint),
    "evaluate": (levels, lambda p, x, s: pyvae.evaluate(p, x, 3, s).log_likelihood.per_datapoint),
    "evaluate's codes": (codes, lambda p, x, s: pyvae.evaluate(p, x, 3, s).codes["k"].counts),
    "code_usage": (codes, lambda p, x, s: pyvae.code_usage(p, x, s)["k"].counts),
    "compare": (levels, lambda p, x, s: compare({"a": p, "b": p}, x, 3, s).estimates["a"].per_datapoint),
    "diagnose": (levels, lambda p, x, s: diagnosed(p, x, s)),
    "impute": (
        lambda: recipes.incomplete((5,), 2, [8]),
        lambda p, x, s: pyvae.impute(p, with_gaps(x), num_particles=3, seed=s),
    ),
    "to_inference_data": (
        levels,
        lambda p, x, s: torch.tensor(pyvae.to_inference_data(p, x, 3, predictive=None, seed=s).sample_stats.lp.values),
    ),
    "posterior_means": (levels, lambda p, x, s: torch.cat(list(posterior_means(p, x, seed=s).values()), 1)),
    "disentanglement": (levels, lambda p, x, s: disentanglement(p, x, FACTORS, seed=s).mutual_information),
    "fit": (levels, trained),
}


def diagnosed(pair, x, seed):
    diagnosis = pyvae.diagnose(pair, x, 25, seed, sections=[bounds])
    return torch.tensor(diagnosis.sections["bounds"].table["elbo"].to_numpy())


@pytest.mark.parametrize("name", CALLS)
def test_a_seed_means_the_same_everywhere(name):
    make, call = CALLS[name]
    pair, x = make(), torch.rand(ROWS, 5).round()
    pyro.set_rng_seed(1)
    first, second = call(pair, x, None), call(pair, x, None)
    pyro.set_rng_seed(1)
    again = call(pair, x, None)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)

    state = torch.get_rng_state()
    one, other = call(pair, x, 5), call(pair, x, 6)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(one, call(pair, x, 5))
    assert not torch.equal(one, other)
    with pytest.raises(pyvae.ArgumentError, match=r"seed is 0\.5"):
        call(pair, x, 0.5)

    state = torch.get_rng_state()
    with pytest.raises(pyvae.PyvaeError):
        call(pair, x[:, :4], None)
    assert torch.equal(torch.get_rng_state(), state)  # what is refused has drawn nothing


def test_an_evaluation_counts_codes_as_code_usage_does():
    pair, x = codes(), torch.rand(ROWS, 5)
    counts = pyvae.evaluate(pair, x, 2, seed=3).codes["k"].counts
    assert torch.equal(counts, pyvae.code_usage(pair, x, seed=3)["k"].counts)
