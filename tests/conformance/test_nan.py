"""What every distribution, likelihood and binarization says of NaN: never a number, nor a crash within torch."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyvae
from pyvae import datasets, distributions
from pyvae.datasets.preprocessing import as_recorded

from .components import LATENTS, LIKELIHOODS, PIXELS, make_likelihood


class Constant(nn.Module):
    """The logits of codes, all alike."""

    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, codes):
        return self.logit.expand(*codes.shape, 3)


def vector(p):
    return p.expand(2)


#: distributions of one parameter that is 1/2; several of a class where it has several kinds of parameters
MAKERS = {
    "Autoregressive": lambda p: distributions.Autoregressive(Constant(p), 2, 3),
    "Bernoulli": lambda p: distributions.Bernoulli(logits=vector(p)),
    "Bernoulli of probabilities": lambda p: distributions.Bernoulli(probs=vector(p)),
    "CategoricalLevels": lambda p: distributions.CategoricalLevels(p.expand(2, 4)),
    "ContinuousBernoulli": lambda p: distributions.ContinuousBernoulli(vector(p)),
    "DiscretizedLogisticMixture": lambda p: distributions.DiscretizedLogisticMixture(
        torch.zeros(3, 2), p.expand(3, 1, 2), torch.ones(3, 1, 2), 2
    ),
    "DiscretizedNormal": lambda p: distributions.DiscretizedNormal(vector(p), torch.ones(2)),
    "DiscretizedNormal of a scale": lambda p: distributions.DiscretizedNormal(torch.ones(2), vector(p)),
    "Flow": lambda p: distributions.Flow(
        torch.distributions.AffineTransform(vector(p), 1.0), dist.Normal(torch.zeros(2), 1.0)
    ),
    "LowRankMultivariateNormal": lambda p: distributions.LowRankMultivariateNormal(
        vector(p), torch.zeros(2, 1), torch.ones(2)
    ),
    "MultivariateNormal": lambda p: distributions.MultivariateNormal(vector(p), scale_tril=torch.eye(2)),
    "PartiallyObserved": lambda p: distributions.PartiallyObserved(dist.Normal(vector(p), 1.0)),
    "PowerSpherical": lambda p: distributions.PowerSpherical(torch.tensor([0.0, 1.0]), p),
    "Weighted": lambda p: distributions.Weighted(dist.Normal(torch.zeros(2), 1.0), vector(p)),
    "Weighted of a base": lambda p: distributions.Weighted(dist.Normal(vector(p), 1.0), torch.ones(2)),
    "ZeroInflated": lambda p: distributions.ZeroInflated(dist.Poisson(torch.ones(2)), gate_logits=vector(p)),
    "ZeroInflated of a base": lambda p: distributions.ZeroInflated(dist.Poisson(vector(p)), gate_logits=torch.zeros(2)),
}
#: those without parameters that could be NaN
FIXED = {
    "HypersphericalUniform": lambda: distributions.HypersphericalUniform(2, torch.zeros(())),
    "StratifiedSteps": lambda: distributions.StratifiedSteps(4, torch.zeros(())).expand([2]),
}
HALF, NAN = torch.tensor(0.5), torch.tensor(math.nan)


def test_no_distribution_is_left_out():
    assert {name.split(" ")[0] for name in (*MAKERS, *FIXED)} == set(distributions.__all__)


@pytest.mark.parametrize("name", MAKERS)
def test_a_parameter_that_is_nan_is_refused_before_a_draw_is_scored(name):
    make = MAKERS[name]
    make(HALF).log_prob(make(HALF).sample())
    with pytest.raises(ValueError, match=r"(?i)nan|invalid values"):
        make(NAN).log_prob(make(NAN).sample())
    if name != "Flow":  # its parameters are those of any transform; it knows what comes of them
        with pytest.raises(ValueError, match=r"(?i)nan|invalid values"):
            make(NAN).sample()
    with pytest.raises(ValueError, match=r"(?i)nan|invalid values"):
        make(NAN).log_prob(make(HALF).sample())


@pytest.mark.parametrize("name", [*MAKERS, *FIXED])
def test_a_value_that_is_nan_is_refused_or_missing(name):
    p = FIXED[name]() if name in FIXED else MAKERS[name](HALF)
    value = torch.full(p.shape(), math.nan)
    if name == "PartiallyObserved":
        assert torch.equal(p.log_prob(value), torch.zeros(2))
        return
    with pytest.raises(ValueError, match=r"(?i)invalid values|expected integers"):
        p.log_prob(value)


@pytest.mark.parametrize("cls", LIKELIHOODS, ids=lambda c: c.__name__)
def test_likelihoods_of_a_network_that_gives_nan_are_refused(cls):
    likelihood = make_likelihood(cls)
    with pytest.raises(ValueError, match=r"(?i)nan|invalid values"):
        likelihood(torch.full((5, LATENTS), math.nan)).sample()
    if not getattr(likelihood, "takes_missing", False):
        with pytest.raises(ValueError, match=r"(?i)invalid values"):
            likelihood(torch.zeros(5, LATENTS)).log_prob(torch.full((5, PIXELS), math.nan))


def test_without_validation_codes_of_nan_logits_have_a_density_that_says_so():
    with pyro.validation_enabled(False):
        assert MAKERS["Autoregressive"](NAN).log_prob(torch.tensor([0, 1])).isnan()


@pytest.mark.parametrize("binarization", [datasets.dynamic_binarization, datasets.static_binarization])
@pytest.mark.parametrize("split", ["train", "test"])
def test_binarization_refuses_nan(binarization, split):
    x = {"train": torch.rand(6, 3), "test": torch.rand(6, 3)}
    x[split][4, 1] = math.nan
    parts = {name: datasets.InMemory(tensor) for name, tensor in x.items()}
    data = datasets.DataSplits("numbers", **parts, num_classes=0, levels=0)
    with pytest.raises(pyvae.DataError, match=r"numbers holds NaN or infinity; .*intensities in \[0, 1\]"):
        binarization(data)


@pytest.mark.parametrize(("bad", "said"), [(math.nan, "holds NaN"), (2.0, r"values in \[0, 2\]")])
def test_new_data_that_are_no_intensities_are_not_binarized(bad, said):
    x = torch.zeros(4, 3)
    x[2, 1] = bad
    with pytest.raises(pyvae.DataError, match=said):
        as_recorded(x, [{"name": "static_binarization", "seed": 0}])
    assert as_recorded(torch.ones(0, 3), [{"name": "dynamic_binarization"}]).shape == (0, 3)
