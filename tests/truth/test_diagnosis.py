"""Every figure of a diagnosis on linear-Gaussian models, where all of them have closed forms."""

import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.utils.data import DataLoader

import pyvae
from pyvae.diagnostics import sections
from pyvae.diagnostics.sections import Subject
from tests.clients.test_pyro_tutorial_vae import Items

SIZE, DRAWS = 1000, 1000
SCALE = 0.5
STRENGTHS = torch.tensor([2.0, 1.5, 1.0, 0.7, 0.0, 0.0]).double()  # of the six latents; two are dead
DIMENSIONS, LATENTS = 8, len(STRENGTHS)


class Affine(nn.Module):
    """N(G x, diag s²): a guide that can be exact."""

    def __init__(self, gain, variance, factor=1.0):
        super().__init__()
        self.register_buffer("gain", gain)
        self.register_buffer("scale", variance.sqrt() * factor)

    def forward(self, x):
        return dist.Normal(x @ self.gain.T, self.scale).to_event(1)


def make(weights, factor=1.0, scale=SCALE):
    """p(z) = N(0, I), p(x | z) = N(W z, σ² I), with the best diagonal q(z | x), its scale times a factor."""
    precision = weights.T @ weights / SCALE**2 + torch.eye(LATENTS).double()
    gain = torch.linalg.solve(precision, weights.T) / SCALE**2
    vae = pyvae.VAE(
        prior=pyvae.priors.StandardNormal(LATENTS),
        likelihood=pyvae.likelihoods.Normal(nn.Linear(LATENTS, DIMENSIONS, bias=False), DIMENSIONS, scale=scale),
        posterior=Affine(gain.float(), (1 / precision.diagonal()).float(), factor),
    ).double()
    vae.posterior.gain.copy_(gain)
    vae.posterior.scale.copy_(precision.diagonal() ** -0.5 * factor)
    with torch.no_grad():
        vae.likelihood.network.weight.copy_(weights)
        vae.likelihood.log_scale.fill_(math.log(scale))  # which was rounded to single precision
    return vae


@pytest.fixture(scope="module")
def weights():
    """Orthogonal columns, so that the posterior is diagonal."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(DIMENSIONS, LATENTS, generator=generator, dtype=torch.float64))
    return basis * STRENGTHS


def data_of(weights, size=SIZE):
    """x ~ N(0, W Wᵀ + σ² I)."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(size, LATENTS, generator=generator, dtype=torch.float64)
    return z @ weights.T + SCALE * torch.randn(size, DIMENSIONS, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def x(weights):
    return data_of(weights)


def ask(section, pair, x, draws=DRAWS):
    return section(Subject(pair, x, draws, seed=0, max_memory=2**28))


def values(section):
    return {figure.name: figure.value for figure in section.figures}


def log_marginal(x, weights):
    covariance = weights @ weights.T + SCALE**2 * torch.eye(DIMENSIONS).double()
    return torch.distributions.MultivariateNormal(torch.zeros(DIMENSIONS).double(), covariance).log_prob(x)


def test_the_exact_guide_is_reported_as_perfect(weights, x):
    section = ask(sections.bounds, make(weights), x)
    truth = log_marginal(x, weights)
    for column in ("elbo", "L_10", "L_100", "L_1000"):
        torch.testing.assert_close(torch.tensor(section.table[column].to_numpy()), truth, atol=1e-8, rtol=0)
    found = values(section)
    assert abs(found["log p̂(x) − ELBO"]) < 1e-8
    assert found["k̂ > 0.67"] == 0
    assert found["effective sample size"] == pytest.approx(DRAWS)
    assert not any(figure.advice for figure in section.figures)


def test_errors_of_draws_and_of_data_are_kept_apart(weights, x):
    """Of the exact guide there is no error but that of the data."""
    elbo = ask(sections.bounds, make(weights), x).figures[0]
    assert elbo.standard_error < 1e-10
    assert elbo.dataset_standard_error == pytest.approx(float(log_marginal(x, weights).std()) / math.sqrt(SIZE))


def test_a_guide_narrowed_by_half_is_found_out(weights, x):
    section = ask(sections.bounds, make(weights, factor=0.5), x)
    found, truth = values(section), float(log_marginal(x, weights).mean())
    gap = LATENTS * narrowed_kl(0.5)
    elbo = section.figures[0]
    assert abs(elbo.value - (truth - gap)) < 4 * elbo.standard_error
    assert elbo.value < found["L_10"] < found["L_100"] < found["L_1000"] < truth
    # w = exp(3 z²/2) with z ~ N(0, 1/4) has the tail index k = 3/4 in each dimension, and good_k is 2/3
    assert section.table["khat"].mean() > 2 / 3
    assert found["k̂ > 0.67"] > 50
    assert any("too narrow" in figure.advice for figure in section.figures)
    assert found["effective sample size"] < DRAWS / 10


def narrowed_kl(factor):
    """KL(N(m, f² s²) ‖ N(m, s²))."""
    return (factor**2 - 1) / 2 - math.log(factor)


def test_latents(weights, x):
    pair = make(weights)
    section = ask(sections.latents, pair, x)
    mean, variance = x @ pair.posterior.gain.T, pair.posterior.scale.square()
    kl = ((mean.square() + variance - 1 - variance.log()) / 2).mean(0)
    torch.testing.assert_close(torch.tensor(section.table["kl"].to_numpy()), kl, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(torch.tensor(section.table["activity"].to_numpy()), mean.var(0), atol=1e-8, rtol=1e-6)
    assert list(section.table["active"]) == list(section.table["collapsed"] == False)  # noqa: E712 (a column)
    assert values(section) == {"active dimensions": 4, "collapsed dimensions": 2}


def test_the_calibration_accepts_the_exact_guide_and_rejects_the_narrowed_one(weights, x):
    exact, narrowed = (ask(sections.calibration, make(weights, factor), x) for factor in (1.0, 0.5))
    count = SIZE * LATENTS
    for section, expected in ((exact, 0.9), (narrowed, 2 * norm.cdf(norm.ppf(0.95) / 2) - 1)):
        assert abs(section.table["coverage"].mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / count)
    assert values(exact)["p-value of the ranks"] > 0.01
    assert values(narrowed)["p-value of the ranks"] < 1e-6
    assert not any(figure.advice for figure in exact.figures)
    assert "too narrow" in narrowed.figures[0].advice


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.5])
@pytest.mark.parametrize("oblique", [False, True])
def test_the_inference_gap_is_split(weights, x, oblique, factor):
    """The best diagonal guide of a posterior with precision Λ is off by ½ (Σ log Λ_ii − log det Λ) nats."""
    if oblique:
        weights = weights @ (torch.eye(LATENTS) + 0.2 * torch.ones(LATENTS, LATENTS)).double()
    section = ask(sections.inference_gap, make(weights, factor), x)
    precision = weights.T @ weights / SCALE**2 + torch.eye(LATENTS).double()
    approximation = (precision.diagonal().log().sum() - precision.logdet()).item() / 2
    amortization = LATENTS * narrowed_kl(factor)
    found = values(section)
    # of 64 data with 512 draws each; the draws' own error, and that log p(x) is a bound still
    tolerance = 4 * section.figures[0].standard_error + 0.02 + 0.05 * approximation
    assert found["amortization gap"] == pytest.approx(amortization, abs=tolerance)
    assert found["approximation gap"] == pytest.approx(approximation, abs=tolerance)
    if approximation + amortization > 1.2:
        which = "encoder" if amortization > approximation else "family"
        assert f"{which}" in section.figures[0].advice


def test_surgery(weights, x):
    """E KL = I(x; z) + KL(q̄ ‖ p); of the exact guide, and data of the model, the second is 0."""
    section = ask(sections.aggregated_posterior, make(weights), x)
    found, information = values(section), float((1 + (STRENGTHS / SCALE) ** 2).log().sum() / 2)
    # a datapoint's own term among the N is too much: at most log(1 + exp(I) / N) nats
    error = math.log1p(math.exp(information) / SIZE)
    spread = 4 * float(log_marginal(x, weights).std()) / math.sqrt(SIZE)
    assert information - error - spread < found["mutual information of x and z"] < information + spread
    assert found["KL(q̄ ‖ p)"] < error + spread
    assert found["largest distance of one dimension"] < 0.1
    assert not any(figure.advice for figure in section.figures)


def test_data_that_the_prior_does_not_expect(weights, x):
    weights = 0.3 * weights  # little is told by x, so that a thousand data are enough
    section = ask(sections.aggregated_posterior, make(weights), data_of(weights) + 3 * weights[:, 0])
    found = values(section)
    # the first latent's mean is moved by 3 shrunken by the posterior's gain, so that KL(q̄ ‖ p) is half its square
    moved = 3 * 0.36 / (0.36 + SCALE**2)
    assert found["KL(q̄ ‖ p)"] == pytest.approx(moved**2 / 2, abs=0.2)
    assert section.table.loc[section.table["distance"].idxmax(), "dimension"] == 0
    assert section.table["mean"][0] == pytest.approx(moved, abs=0.2)
    assert [("learned prior" in figure.advice) for figure in section.figures if figure.advice] == [True, True]


def test_surgery_warns_where_it_saturates(weights, x):
    few = ask(sections.aggregated_posterior, make(weights), x[:100])
    assert few.figures[-1].name == "mutual information of x and z, at least"
    assert few.figures[-1].advice == "give at least 1000 datapoints"
    # of 40 nats a thousand data tell no more than 7, and no more data are looked at
    many = ask(sections.aggregated_posterior, make(100 * weights), data_of(100 * weights, 2000))
    assert many.figures[-1].name.endswith("at least")
    assert many.figures[-1].value == pytest.approx(math.log(1000))
    assert not many.figures[-1].advice


def test_predictive_checks(weights, x):
    right = ask(sections.predictive, make(weights), x)
    assert not any(figure.advice for figure in right.figures)
    wrong = ask(sections.predictive, make(weights, scale=2 * SCALE), x)
    assert all(figure.advice for figure in wrong.figures)
    # the mean is not what is wrong
    table = wrong.table.set_index(["draws", "statistic"])["p_value"]
    assert 0.001 < table["posterior", "mean"] < 0.999
    assert table["posterior", "standard deviation"] in (0.0, 1.0)


def test_diagnosing_changes_nothing(weights, x):
    pair = make(weights)
    before = torch.random.get_rng_state()
    first, second = (pyvae.diagnose(pair, x[:50], num_particles=50, seed=3).to_dataframe() for _ in range(2))
    assert first.equals(second)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert pair.training


def test_dead_latents_do_not_hide_a_narrow_one(weights, x):
    """Two of six are right because they are dead; the verdict is of the worst."""
    pair = make(weights)
    pair.posterior.scale[0] *= 0.55
    figure = ask(sections.calibration, pair, x).figures[0]
    expected = 2 * norm.cdf(0.55 * norm.ppf(0.95)) - 1
    assert abs(figure.value / 100 - expected) < 4 * math.sqrt(expected * (1 - expected) / SIZE)
    assert "z[0]" in figure.meaning
    assert "too narrow" in figure.advice


@pytest.mark.parametrize(("factor", "shift"), [(0.03, 4.0), (1.0, 10.0)])
def test_the_refinement_comes_from_far(weights, x, factor, shift):
    """What an over-confident encoder loses is not blamed on its family, which is the right one."""
    pair = make(weights, factor)
    spread = pair.posterior.scale / factor
    guide = pair.posterior.forward
    pair.posterior.forward = lambda x: dist.Normal(guide(x).mean + shift * spread, factor * spread).to_event(1)
    section = ask(sections.inference_gap, pair, x)
    found = values(section)
    truth = LATENTS * (narrowed_kl(factor) + shift**2 / 2)
    assert found["amortization gap"] == pytest.approx(truth, rel=0.02)
    assert abs(found["approximation gap"]) < 0.1
    assert "encoder" in section.figures[0].advice


@pytest.mark.slow
def test_errors_of_the_gaps_are_those_of_repetition(weights, x):
    """Over seeds, of an oblique posterior, whose bound is what is uncertain."""
    weights = weights @ (torch.eye(LATENTS) + 0.2 * torch.ones(LATENTS, LATENTS)).double()
    pair = make(weights)
    runs = [sections.inference_gap(Subject(pair, x[:64], 50, seed, 2**28)) for seed in range(10)]
    for index in (0, 2):
        spread = torch.tensor([run.figures[index].value for run in runs]).std()
        told = torch.tensor([run.figures[index].standard_error for run in runs]).mean()
        # the standard deviation of ten has a relative error of 1 / √18
        assert 1 / 2 < spread / told < 2


@pytest.mark.parametrize("wrap", [Items, lambda x: DataLoader(Items(x), 50)])
def test_sorted_data_are_sampled_from_all_over(weights, wrap):
    x = data_of(weights, 3000)
    x = x[(x @ weights[:, 0]).argsort()]
    section = ask(sections.aggregated_posterior, make(weights), wrap(x), draws=30)
    assert values(section)["largest distance of one dimension"] < 0.1


def test_units_of_the_latents_do_not_matter():
    """A prior as narrow as its posterior's means are close together."""
    narrow = pyvae.VAE(Scaled(0.01), pyvae.likelihoods.Normal(Gain(100.0), 1, scale=0.5), Gain2())
    x = narrow.model(size=SIZE).detach()
    assert values(ask(sections.latents, narrow, x))["active dimensions"] == 1


class Scaled(pyvae.priors.Prior):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, *context):
        return dist.Normal(torch.zeros(1), self.scale).to_event(1)


class Gain(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, z):
        return self.gain * z


class Gain2(pyvae.guides.Guide):
    """The posterior of z ~ N(0, 0.01²), x ~ N(100 z, ¼)."""

    def forward(self, x):
        return dist.Normal(0.008 * x, 0.01 * 0.2**0.5).to_event(1)


def test_of_large_networks_fewer_datapoints_are_drawn_and_the_figures_say_so(weights, x, monkeypatch):
    pair = make(weights)
    assert len(ask(sections.inference_gap, pair, x, 50).table) == 64
    monkeypatch.setattr("pyvae.diagnostics.sections.subject._OUTPUTS", 1)
    gap = ask(sections.inference_gap, pair, x, 50)
    assert len(gap.table) == 8
    assert "of 8 datapoints" in gap.figures[0].meaning
    assert abs(gap.figures[0].value) < 4 * gap.figures[0].standard_error  # the guide is exact
    coverage = ask(sections.calibration, pair, x, 50).figures[0]
    assert "share of 100 simulated data" in coverage.meaning
    assert not coverage.advice
