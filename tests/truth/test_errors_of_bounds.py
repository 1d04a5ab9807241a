"""The error of an importance-weighted bound covers it, or says that it is a lower limit only."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from rich.console import Console
from torch import nn

import pyvae
from pyvae.cli.evaluate import print_figures
from pyvae.cli.key_figures import all_warnings, key_figures
from pyvae.diagnostics import sections
from pyvae.evaluation.estimates import Estimate, likelihood_estimate, smaller_estimate
from pyvae.evaluation.jackknife import jackknife
from tests.truth.weights import Missed, pareto, scaled, shifted

LAWS = {
    **{f"scale {scale} in {d}": scaled(d, scale) for d in (1, 5, 50) for scale in (0.5, 0.7, 0.9, 1.1, 1.5)},
    **{f"shift {shift} in {d}": shifted(d, shift) for d in (1, 5, 50) for shift in (0.2, 0.5, 1.0)},
    **{f"Pareto {shape}": pareto(shape) for shape in (0.2, 0.5, 0.7, 0.9, 1.5)},
    "missed 0.1": Missed(0.1, 1e3),
}
HARD = ["scale 0.5 in 50", "shift 1.0 in 50", "Pareto 1.5", "Pareto 0.9", "scale 1.5 in 50", "shift 0.5 in 50"]
SEEDS = 200


def delta_method(log_weight):
    share, count = log_weight.softmax(0), len(log_weight)
    return ((share.square().sum(0) - 1 / count).clamp(min=0) * count / (count - 1)).sqrt()


def replications(law, count, size):
    """Estimates for data sets of ``size`` datapoints, one for each seed."""
    whole = likelihood_estimate(law.draw(count, SEEDS * size))
    parts = (whole.per_datapoint, whole.standard_errors, whole.draws_behind)
    return [Estimate(v, e, count, draws_behind=b) for v, e, b in zip(*(p.split(size) for p in parts), strict=True)]


def covers(estimate, expected):
    return abs(estimate.value - expected) <= 1.96 * estimate.standard_error


def by_hand(log_weights):
    """The error of one datapoint, from the list of its weights with each left out in turn."""
    left_out = [
        math.log(math.fsum(math.exp(w) for r, w in enumerate(log_weights) if r != s) / (len(log_weights) - 1))
        for s in range(len(log_weights))
    ]
    mean = math.fsum(left_out) / len(left_out)
    squares = [(value - mean) ** 2 for value in left_out]
    return math.sqrt(math.fsum(squares)), math.fsum(squares) ** 2 / math.fsum(s**2 for s in squares)


@pytest.mark.parametrize("count", [2, 3, 10, 60])
@pytest.mark.parametrize("law", ["scale 0.9 in 5", "shift 1.0 in 5", "Pareto 0.9", "scale 0.5 in 50"])
def test_leaving_out_each_draw_by_hand(law, count):
    log_weight = LAWS[law].draw(count, 4)
    errors, behind = jackknife(log_weight)
    expected = [by_hand(column) for column in log_weight.T.tolist()]
    assert errors.tolist() == pytest.approx([e for e, _ in expected], rel=1e-9)
    assert behind.tolist() == pytest.approx([b for _, b in expected], rel=1e-9)


def test_one_weight_that_is_almost_all():
    """Without it the bound is lower by the distance to the others, however many nats that is."""
    log_weight = torch.full((50, 3), -1.0, dtype=torch.float64)
    log_weight[17] = torch.tensor([40.0, 2_000.0, -1.0])
    errors, behind = jackknife(log_weight)
    drops = [above - math.log(49) for above in (41, 2_001)]  # 49 values of one kind, and a single other
    assert errors[:2].tolist() == pytest.approx([drop * math.sqrt(49 / 50) for drop in drops])
    assert behind[:2].tolist() == pytest.approx([1 / ((49 / 50) ** 2 + 1 / (49 * 50**2))] * 2)
    assert errors[2] < 1e-15
    assert behind[2] == math.inf


def test_weights_of_zero():
    log_weight = torch.full((20, 2), -math.inf, dtype=torch.float64)
    log_weight[:10, 0], log_weight[0, 1] = 0.0, 0.0
    errors, behind = jackknife(log_weight)
    left_out = torch.tensor([math.log(9 / 19)] * 10 + [math.log(10 / 19)] * 10)
    assert errors[0] == pytest.approx(float((left_out - left_out.mean()).square().sum().sqrt()))
    assert behind[0] == pytest.approx(20)
    assert (errors[1], behind[1]) == (math.inf, 1)  # without that weight the bound is −∞
    estimate = likelihood_estimate(log_weight)
    assert estimate.standard_error == math.inf
    assert estimate.draws_behind_error == 1


@pytest.mark.parametrize("law", LAWS)
def test_its_square_is_at_least_the_variance_in_the_mean(law):
    """Efron and Stein's inequality, for the bound of one draw less; and not many times that."""
    log_weight = LAWS[law].draw(20, 20_000)
    bounds, variance = log_weight[1:].logsumexp(0), jackknife(log_weight)[0].square()
    noise = ((bounds - bounds.mean()).square() - variance).std() / len(bounds) ** 0.5
    excess = variance.mean() - bounds.var()
    assert excess > -4 * noise
    assert excess < 0.5 * bounds.var() + 4 * noise


@pytest.mark.parametrize("count", [10, 100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("law", LAWS)
def test_it_covers_the_bound_of_a_data_set(law, count):
    """Of 200 seeds, on 100 datapoints; and a number is claimed, if less often where weights have no variance."""
    expected, found = LAWS[law].bound(count), replications(LAWS[law], count, 100)
    assert sum(covers(e, expected) for e in found) >= 0.85 * SEEDS
    assert sum(not e.error_is_at_least for e in found) >= 0.4 * SEEDS


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize(
    "count", [pytest.param(10, marks=pytest.mark.slow), 100, pytest.param(1000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("law", LAWS)
def test_of_few_datapoints_it_covers_or_says_at_least(law, count, size):
    expected, found = LAWS[law].bound(count), replications(LAWS[law], count, size)
    assert sum(covers(e, expected) or e.error_is_at_least for e in found) >= 0.85 * SEEDS


@pytest.mark.parametrize("law", HARD)
def test_the_delta_method_does_not_cover(law):
    """So that the tests above can fail."""
    expected = LAWS[law].bound(100)
    log_weight = LAWS[law].draw(100, SEEDS, 100)
    values = (log_weight.logsumexp(0) - math.log(100)).mean(1)
    errors = delta_method(log_weight).square().sum(1).sqrt() / 100
    assert ((values - expected).abs() <= 1.96 * errors).double().mean() < 0.85


def test_a_mode_that_a_few_draws_hit():
    """With one expected hit among all draws the error rests on it: at least. Where there was none, nobody can tell."""
    law, at_least, errors = Missed(1e-4, 1e3), [], []
    for estimate in replications(law, 100, 100):
        if estimate.value > 0:
            at_least.append(estimate.error_is_at_least)
            errors.append(abs(estimate.value - law.bound(100)) / estimate.standard_error)
    assert 0.5 * SEEDS < len(at_least) < 0.8 * SEEDS  # the others, exp(−1) of them, saw no hit
    assert all(at_least)
    assert max(errors) < 4


@pytest.mark.parametrize(("count", "size", "at_least"), [(2, 1, True), (2, 3, True), (2, 100, False), (1000, 1, False)])
def test_few_draws_say_at_least(count, size, at_least):
    torch.manual_seed(1)
    estimate = likelihood_estimate(LAWS["shift 0.2 in 1"].draw(count, size))
    assert estimate.error_is_at_least is at_least
    assert ("at least" in str(estimate)) is at_least
    assert ("rests on about" in estimate.caution) is at_least


def test_draws_behind_the_error_of_a_data_set():
    """Those of all draws together, from the squares of their deviations by hand."""
    log_weight = LAWS["Pareto 0.9"].draw(30, 5)
    left_out = torch.stack([log_weight[[r for r in range(30) if r != s]].logsumexp(0) for s in range(30)])
    squares = (left_out - left_out.mean(0)).square()
    estimate = likelihood_estimate(log_weight)
    assert estimate.draws_behind_error == pytest.approx(float(squares.sum() ** 2 / squares.square().sum()))
    other = likelihood_estimate(LAWS["scale 0.7 in 5"].draw(30, 5))
    gap = estimate.minus(other)
    assert gap.value == pytest.approx(estimate.value - other.value)
    assert gap.standard_error == pytest.approx(math.hypot(estimate.standard_error, other.standard_error))
    fourth = [e.standard_errors.square().square() / e.draws_behind for e in (estimate, other)]
    expected = float(gap.standard_errors.square().sum() ** 2 / (fourth[0] + fourth[1]).sum())
    assert gap.draws_behind_error == pytest.approx(expected)


def test_without_draws_to_count_the_error_is_a_number():
    estimate = Estimate(torch.zeros(2), torch.tensor([0.3, 0.4]), 10)
    assert (estimate.draws_behind_error, estimate.error_is_at_least, estimate.caution) == (math.inf, False, "")
    exact = Estimate(torch.zeros(2), torch.zeros(2), 10, draws_behind=torch.full((2,), math.inf))
    assert exact.draws_behind_error == math.inf
    single = likelihood_estimate(torch.zeros(1, 4).double())
    assert math.isnan(single.standard_error)
    assert not single.error_is_at_least


def test_smaller_bounds_from_blocks():
    log_weight = LAWS["Pareto 0.5"].draw(35, 4)
    estimate = smaller_estimate(log_weight, 10)
    blocks = torch.stack([log_weight[i : i + 10].exp().mean(0).log() for i in (0, 10, 20)])
    torch.testing.assert_close(estimate.per_datapoint, blocks.mean(0))
    torch.testing.assert_close(estimate.standard_errors, blocks.std(0) / 3**0.5)
    squares = (blocks - blocks.mean(0)).square()
    torch.testing.assert_close(estimate.draws_behind, squares.sum(0).square() / squares.square().sum(0))
    assert estimate.num_particles == 10
    assert math.isnan(smaller_estimate(log_weight, 20).standard_error)


class Scaled(nn.Module):
    """z ~ N(0, I), and x tells nothing of it: log p(x) is known, and the guide N(shift, scale² I) is off by its own."""

    def __init__(self, dimensions, scale, shift):
        super().__init__()
        self.dimensions, self.scale, self.shift = dimensions, scale, shift

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(self.dimensions).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            location = torch.full((len(x), self.dimensions), self.shift).double()
            pyro.sample("z", dist.Normal(location, self.scale).to_event(1))


@pytest.mark.parametrize(("dimensions", "scale", "shift"), [(50, 0.7, 0.0), (50, 1.0, 0.5), (5, 0.5, 0.0)])
def test_every_tool_says_the_same_error(dimensions, scale, shift):
    pair, x = Scaled(dimensions, scale, shift), torch.randn(100).double()
    law = shifted(dimensions, shift) if shift else scaled(dimensions, scale)
    expected = law.bound(100) + float(dist.Normal(0.0, 1.0).log_prob(x).mean())
    found = [pyvae.log_likelihood(pair, x, num_particles=100, seed=seed) for seed in range(20)]
    assert sum(covers(e, expected) for e in found) >= 17
    pyro.set_rng_seed(3)
    weights = pyvae.log_weights(pair, x, num_particles=100)
    error = float(jackknife(weights)[0].square().sum().sqrt() / 100)
    assert pyvae.log_likelihood(pair, x, num_particles=100, seed=3).standard_error == pytest.approx(error)
    figures = pyvae.evaluate(pair, x, num_particles=100, seed=3).figures()
    assert figures["log_likelihood_standard_error"] == pytest.approx(error)
    assert figures["log_likelihood_error_is_at_least"] is found[3].error_is_at_least


def test_where_few_draws_make_the_error_every_table_says_at_least(capsys):
    """Two datapoints of a guide that is too narrow by far."""
    narrow, exact = Scaled(50, 0.5, 0.0), Scaled(50, 1.0, 0.0)
    x = torch.randn(2).double()
    evaluation = pyvae.evaluate(narrow, x, num_particles=100, seed=0)
    error = f"at least {evaluation.log_likelihood.standard_error:.3f}"
    assert evaluation.log_likelihood.error_is_at_least
    assert not evaluation.elbo.error_is_at_least
    print_figures(Console(width=200), evaluation, "test data")
    printed = capsys.readouterr().out
    assert error in printed
    assert f"log_likelihood: {evaluation.log_likelihood.caution}" in printed
    assert error in key_figures(evaluation, conditional=False)[1]["meaning"]
    assert any(evaluation.log_likelihood.caution in warning for warning in all_warnings(evaluation, []))

    comparison = pyvae.compare({"exact": exact, "narrow": narrow}, x, num_particles=100, seed=0)
    assert "at least" in str(comparison).splitlines()[2]
    assert "at least" not in str(comparison).splitlines()[1]
    assert "Of 'narrow': its Monte Carlo error rests on about" in str(comparison)
    figures = comparison.figures()
    assert (figures["narrow"]["difference_error_is_at_least"], figures["exact"]["difference_error_is_at_least"]) == (
        True,
        False,
    )

    diagnosis = pyvae.diagnose(narrow, x, num_particles=100, seed=0, sections=[sections.bounds], progress=False)
    frame = diagnosis.to_dataframe().loc["bounds"]
    assert frame.loc["L_100", "error_is_at_least"]
    assert "rests on about" in frame.loc["L_100", "meaning"]
    assert not frame.loc["ELBO", "error_is_at_least"]
    told = float(frame.loc["L_100", "standard_error"])
    assert f"± at least {told:.2g} Monte Carlo error" in str(diagnosis)
    assert f"± at least {told:.2g} Monte Carlo error" in diagnosis.to_html()
    assert frame.loc["L_10", "standard_error"] > 0

    tree = pyvae.to_inference_data(narrow, x, num_samples=100, predictive=None, seed=0)
    figures = tree["figures"]
    assert figures.attrs["importance_weighted_bound_error_is_at_least"] == 1
    assert float(figures["importance_weighted_bound_draws_behind_error"].max()) < 10
