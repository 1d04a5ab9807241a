"""Pairs whose components do not fit each other: which is named, and that building a pair changes nothing else."""

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors, quantizers

WIDTH, LATENT, CLASSES, CODES, DIM, GRID = 6, 2, 3, 8, 3, 4


class Gives(nn.Module):
    """A component that gives what it is told to."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, *inputs):
        return self.make(*inputs)


class Joined(nn.Module):
    """A linear map of two inputs side by side."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, one, other):
        return self.linear(torch.cat([one, other], -1))


def normal(inputs, outputs):
    return guides.DiagonalNormal(networks.MLP(inputs, 2 * outputs, []), outputs)


def decoder(*shape):
    return nn.Sequential(nn.Flatten(-len(shape)), nn.Linear(int(np.prod(shape)), WIDTH))


def vae(**changes):
    own = {
        "prior": priors.StandardNormal(LATENT),
        "likelihood": likelihoods.Normal(nn.Linear(LATENT, WIDTH), WIDTH),
        "posterior": normal(WIDTH, LATENT),
    }
    return pyvae.VAE(**own | changes)


def conditional(**changes):
    own = {
        "likelihood": likelihoods.Normal(Joined(LATENT + CLASSES, WIDTH), WIDTH),
        "posterior": guides.DiagonalNormal(Joined(WIDTH + CLASSES, 2 * LATENT), LATENT),
        "context": networks.OneHot(CLASSES),
    }
    return vae(**own | changes)


def markov(**changes):
    own = {
        "prior": priors.StandardNormal(LATENT),
        "transitions": [normal(LATENT, 3)],
        "likelihood": likelihoods.Normal(nn.Linear(3, WIDTH), WIDTH),
        "posterior": normal(WIDTH, 3),
        "reverse_transitions": [normal(3, LATENT)],
    }
    return pyvae.MarkovVAE(**own | changes)


def ladder(**changes):
    own = {
        "prior": priors.StandardNormal(LATENT),
        "transitions": [normal(LATENT, 3)],
        "likelihood": likelihoods.Normal(nn.Linear(3, WIDTH), WIDTH),
        "features": networks.Features([nn.Linear(WIDTH, 8), nn.Linear(8, 4)]),
        "posteriors": [
            guides.PrecisionWeighted(nn.Linear(4, 2 * LATENT), LATENT),
            guides.PrecisionWeighted(nn.Linear(8, 6), 3),
        ],
    }
    return pyvae.LadderVAE(**own | changes)


def semi_supervised(**changes):
    own = {
        "prior": Gives(lambda c: dist.Normal(torch.zeros(LATENT), 1.0).to_event(1)),
        "likelihood": likelihoods.Normal(Joined(LATENT + CLASSES, WIDTH), WIDTH),
        "posterior": guides.DiagonalNormal(Joined(WIDTH + CLASSES, 2 * LATENT), LATENT),
        "classifier": nn.Linear(WIDTH, CLASSES),
        "context": networks.OneHot(CLASSES),
        "num_classes": CLASSES,
    }
    return pyvae.SemiSupervisedVAE(**own | changes)


def vqvae(**changes):
    own = {
        "prior": priors.FactorizedCodes((GRID,), CODES),
        "likelihood": likelihoods.Normal(decoder(DIM, GRID), WIDTH),
        "encoder": networks.MLP(WIDTH, (DIM, GRID), []),
        "quantizer": quantizers.VectorQuantizer(CODES, DIM, decay=0.9, revive_below=0.1),
    }
    return pyvae.VQVAE(**own | changes)


def vqvae2(**changes):
    own = {
        "prior_top": priors.FactorizedCodes((4,), CODES),
        "prior_bottom": nn.Sequential(nn.Flatten(-2), priors.FactorizedCodes((4,), CODES)),
        "likelihood": likelihoods.Normal(Joined(8, 5), (3, 5)),
        "features": networks.Features([nn.Linear(5, 4), nn.Linear(4, 4)]),
        "condition": Joined(8, 4),
        "quantizer_top": quantizers.VectorQuantizer(CODES, DIM, decay=0.9),
        "quantizer_bottom": quantizers.VectorQuantizer(CODES, DIM, decay=0.9),
    }
    return pyvae.VQVAE2(**own | changes)


def diffusion(**changes):
    own = {"network": networks.TimeMLP(3), "event_shape": 3, "schedule": networks.CosineNoise(1000)}
    return pyvae.DiffusionVAE(**own | changes)


FAMILIES = [vae, conditional, markov, ladder, semi_supervised, vqvae, vqvae2, diffusion]
every = pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)

BLAMED = [
    (vae, {"posterior": normal(WIDTH, 5)}, r"^posterior: event shape \(5,\) of z; expected that of the prior, \(2,\)"),
    (vae, {"prior": priors.HypersphericalUniform(LATENT)}, "^posterior: the support of z is .* that of the prior"),
    (vae, {"posterior": Gives(lambda x: {}["scale"])}, r"^posterior: Gives failed on \(2, 6\) \(torch.float32\): 'sca"),
    (
        vae,
        {"prior": Gives(lambda: torch.distributions.Normal(torch.zeros(2), 1.0))},
        "^prior: Gives returned Normal; expected a Pyro distribution",
    ),
    (conditional, {"posterior": normal(WIDTH, LATENT)}, r"^posterior: .*failed on \(2, 6\) .*, \(2, 3\)"),
    (conditional, {"context": networks.OneHot(5)}, r"^likelihood: .*\(2, 5\)"),
    (ladder, {"features": Gives(lambda x: {}["d"])}, "^features: Gives failed"),
    (semi_supervised, {"posterior": normal(WIDTH, LATENT)}, r"^posterior: .*failed on \(2, 6\)"),
    (semi_supervised, {"classifier": nn.Linear(WIDTH, 5)}, r"^classifier returned shape \(2, 5\).*num_classes=3"),
    (semi_supervised, {"classifier": nn.Linear(5, 3)}, r"^classifier: Linear failed on \(2, 6\)"),
    (
        semi_supervised,
        {"classifier": Gives(lambda x: (x, x))},
        "^classifier: gave a tuple for 2 datapoints; .*guide failed",
    ),
    (semi_supervised, {"classifier": Gives(lambda x: torch.zeros(5, CLASSES))}, r"^classifier: gave shape \(5, 3\)"),
    (semi_supervised, {"context": networks.OneHot(2)}, "^context: |^likelihood: "),
    (vqvae, {"encoder": Gives(lambda x: (x, x))}, "^encoder: gave a tuple for 2 datapoints; VQVAE.guide failed on it"),
    (vqvae, {"encoder": networks.MLP(5, (DIM, GRID), [])}, r"^encoder: MLP failed on \(2, 6\)"),
    (vqvae, {"encoder": networks.MLP(WIDTH, (2, GRID), [])}, "^quantizer: VectorQuantizer was given vectors"),
    (vqvae, {"quantizer": nn.Linear(DIM, DIM)}, "^quantizer: Linear failed on"),
    (vqvae, {"prior": priors.FactorizedCodes((5,), CODES)}, r"^likelihood: .*failed on \(2, 3, 5\)"),
    (
        vqvae,
        {"distance": nn.MSELoss()},
        r"^distance: gave shape \(\) for 2 datapoints; expected a tensor of shape \(2,\)",
    ),
    (vqvae, {"distance": Gives(lambda x, y: {}["weight"])}, r"^distance: Gives failed on \(2, 6\)"),
    (vqvae2, {"features": networks.Features([nn.Linear(5, 4)])}, "^features: gave a tuple for 2 data"),
    (vqvae2, {"condition": Joined(7, 4)}, "^condition: Joined failed"),
    (vqvae2, {"condition": Joined(8, 5)}, r"^condition and quantizer_bottom: event shape \(5,\) of k_bottom"),
    (vqvae2, {"quantizer_top": quantizers.VectorQuantizer(CODES, 2)}, "^likelihood: |^quantizer_top: "),
    (diffusion, {"network": networks.TimeMLP(4)}, r"^network: x has shape \(2, 3\); expected \(..., 4\)"),
    (diffusion, {"schedule": Gives(lambda: {}["λ"])}, "^schedule: Gives failed on no input"),
]


@pytest.mark.parametrize(("make", "changes", "message"), BLAMED)
def test_the_component_at_fault_is_named(make, changes, message):
    with pytest.raises(pyvae.PairError, match=message):
        make(**changes)


def test_components_that_are_used_by_others_are_not_named_for_them():
    posterior, likelihood = normal(WIDTH, LATENT), likelihoods.Normal(nn.Linear(LATENT, WIDTH), WIDTH)
    vamp = priors.VampPrior(LATENT, 5, posterior, WIDTH)
    semi = guides.SemiAmortized(posterior, vamp, likelihood, steps=2)
    assert vae(prior=vamp, posterior=semi).prior is vamp
    with pytest.raises(pyvae.PairError, match=r"^prior: "):
        vae(prior=priors.VampPrior(LATENT, 5, posterior, WIDTH + 1), posterior=posterior)


@every
def test_building_a_pair_changes_nothing_else(make):
    """No random stream moves but for the weights', which are drawn beforehand; nothing is left in Pyro or in torch."""
    parts = make()
    settings = {k: v for k, v in vars(parts).items() if not k.startswith("_") and k not in ("training", "event_shape")}
    children = {
        name: list(child) if isinstance(child, nn.ModuleList) else child for name, child in parts.named_children()
    }
    for i, module in enumerate(parts.modules()):
        module.training = bool(i % 2)
    modes = {module: module.training for module in parts.modules()}
    state = {name: value.clone() for name, value in parts.state_dict().items()}
    streams = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with poutine.trace() as trace:
        pair = type(parts)(**children | settings | ({"event_shape": 3} if make is diffusion else {}))
    assert torch.equal(streams[0], torch.random.get_rng_state())
    assert (streams[1] == np.random.get_state()[1]).all()
    assert streams[2] == random.getstate()
    assert not trace.trace.nodes
    assert not pyro.get_param_store()
    assert not any(module._forward_hooks for module in pair.modules())
    assert pair.training
    assert all(module.training == modes[module] for module in pair.modules() if module in modes)
    assert all(torch.equal(value, state[name]) for name, value in pair.state_dict().items())


@every
def test_pairs_of_other_precision(make):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert all(p.dtype == torch.float64 for p in make().parameters())
    finally:
        torch.set_default_dtype(before)


class FromData(nn.Module):
    """A layer that takes its place from the first batch that it is trained on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("started", torch.tensor(False))
        self.loc = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        if self.training and not self.started:
            self.started.fill_(True)
            self.loc.data = x.mean(0)
        return x - self.loc


def test_what_starts_from_data_does_not_start_from_the_check():
    layer = FromData()
    vae(posterior=guides.DiagonalNormal(nn.Sequential(layer, nn.Linear(WIDTH, 2 * LATENT)), LATENT))
    assert not layer.started
    assert (layer.loc == 0).all()


def test_lazy_layers():
    pair = vae(posterior=guides.DiagonalNormal(nn.LazyLinear(2 * LATENT), LATENT))
    assert pair.posterior.network.weight.shape == (2 * LATENT, WIDTH)


def test_components_may_use_the_param_store():
    pyro.param("scale", torch.tensor(0.5))
    likelihood = Gives(lambda z: dist.Normal(z @ torch.ones(LATENT, WIDTH), pyro.param("scale")).to_event(1))
    prior = Gives(lambda: dist.Normal(pyro.param("loc", lambda: torch.zeros(LATENT)), 1.0).to_event(1))
    pair = vae(prior=prior, likelihood=likelihood)
    assert list(pyro.get_param_store()) == ["scale"]
    assert pair.model(size=3).shape == (3, WIDTH)
    assert {"scale", "loc"} < set(pyro.get_param_store())


def test_components_may_have_sites_of_their_own():
    def scaled(x):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        return dist.Normal(torch.zeros(len(x), LATENT), scale[..., None]).to_event(1)

    pair = vae(posterior=Gives(scaled))
    assert set(poutine.trace(pair.guide).get_trace(torch.zeros(2, WIDTH)).nodes) >= {"scale", "z"}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_traced_networks():
    pair = vqvae(encoder=torch.jit.trace(networks.MLP(WIDTH, (DIM, GRID), []), torch.zeros(2, WIDTH)))
    assert pair.encode(torch.zeros(2, WIDTH)).shape == (2, GRID)


def test_labels_that_cannot_be_guessed_leave_the_check_to_the_first_use():
    context = nn.Linear(4, CLASSES)
    pair = conditional(context=context, posterior=normal(WIDTH, LATENT))
    assert pair.model(y=torch.zeros(2, 4)).shape == (2, WIDTH)
    with pytest.raises(RuntimeError, match=r"mat1 and mat2"):
        pair.guide(torch.zeros(2, WIDTH), torch.zeros(2, 4))


def test_a_derived_class_may_make_what_its_programs_need_afterwards():
    class Scaled(pyvae.VAE):
        def __init__(self, **components):
            super().__init__(**components)
            self.scale = 2.0

        def model(self, x=None, y=None, size=1):
            return self.scale * super().model(x, y, size)

    own = dict(vae().named_children())
    assert Scaled(**own).model(size=3).shape == (3, WIDTH)
