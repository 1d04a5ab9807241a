"""Padding and gaps alarm nobody: diagnoses of exact posteriors, whose padded elements hold anything."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae.diagnostics import SECTIONS, sections
from pyvae.distributions import PartiallyObserved
from tests.truth.obs_masks import ObsMasked

N, T = 400, 5
JUNK, PADDING = 3.0, -50.0


def lengths(count=N):
    return torch.arange(T) < torch.randint(1, T + 1, (count, 1))


class Local(nn.Module):
    """z_t ~ N(0, 1), x_t ~ N(z_t, 1), masked in one of three ways; the guide is the posterior, but for padding."""

    def __init__(self, how, width=0.5**0.5, shift=0.0):
        super().__init__()
        self.how, self.width, self.weight = how, width, nn.Parameter(torch.tensor(0.5))
        self.shift = shift

    def model(self, x, mask):
        with pyro.plate("data", len(x), dim=-2 if self.how == "plates" else -1):
            z = self.draw("z", dist.Normal(torch.zeros(len(x), T), 1.0), mask)
            self.draw("x", dist.Normal(z, 1.0), mask, obs=x)

    def guide(self, x, mask):
        # as of a network that knows no other padding
        strange = torch.where(mask, 0.0, x - PADDING).abs().sum(-1, keepdim=True)
        loc = torch.where(mask, self.weight * x + self.shift + strange, JUNK)
        with pyro.plate("data", len(x), dim=-2 if self.how == "plates" else -1):
            self.draw("z", dist.Normal(loc, self.width), mask)

    def draw(self, name, fn, mask, **obs):
        if self.how == "plates":
            with pyro.plate(f"steps of {name}", T, dim=-1), poutine.mask(mask=mask):
                return pyro.sample(name, fn, **obs)
        return pyro.sample(name, fn.mask(mask).to_event(1), **obs)

    @staticmethod
    def data():
        mask = lengths()
        return torch.where(mask, 2**0.5 * torch.randn(N, T), PADDING), mask


class Path(nn.Module):
    """A walk with a noisy observation of each step; the guide filters backwards, and draws forwards."""

    takes_missing = True

    def __init__(self, masked):
        super().__init__()
        self.masked, self.decay = masked, nn.Parameter(torch.tensor(0.8))

    def steps(self, x, mask, draw):
        z, path = None, []
        for t in range(T):
            with poutine.mask(mask=mask[:, t] if self.masked else torch.ones(len(x), dtype=torch.bool)):
                z = pyro.sample(f"z_{t}", draw(t, z))
            path.append(z)
        return torch.stack(path, -1)

    def prior(self, size):
        return lambda t, z: dist.Normal(torch.zeros(size), 1.0) if t == 0 else dist.Normal(self.decay * z, 0.7)

    def model(self, x, mask):
        with pyro.plate("data", len(x)):
            path = self.steps(x, mask, self.prior(len(x)))
            if self.masked:
                pyro.sample("x", dist.Normal(path, 0.8).mask(mask).to_event(1), obs=x)
            else:
                pyro.sample("x", PartiallyObserved(dist.Normal(path, 0.8)).to_event(1), obs=x)

    def guide(self, x, mask):
        seen = mask.float() if self.masked else (~x.isnan()).float()
        x, noise, a = x.nan_to_num() * seen, 0.7**2, self.decay
        precision, information = [torch.zeros(len(x))] * (T + 1), [torch.zeros(len(x))] * (T + 1)
        for t in reversed(range(T)):
            shrink = 1 + noise * precision[t + 1]
            precision[t] = seen[:, t] / 0.64 + a**2 * precision[t + 1] / shrink
            information[t] = x[:, t] / 0.64 + a * information[t + 1] / shrink

        def draw(t, z):
            own, mean = (1.0, 0.0) if t == 0 else (1 / noise, a * z)
            total = own + precision[t]
            q = dist.Normal((own * mean + information[t]) / total, total**-0.5)
            return dist.Normal(torch.where(mask[:, t], q.loc, JUNK), q.scale) if self.masked else q

        with pyro.plate("data", len(x)):
            self.steps(x, mask, draw)

    def data(self):
        z, path = torch.randn(N), []
        for t in range(T):
            z = z if t == 0 else 0.8 * z + 0.7 * torch.randn(N)
            path.append(z + 0.8 * torch.randn(N))
        mask = lengths() if self.masked else torch.rand(N, T) < 0.6
        return torch.stack(path, -1).masked_fill(~mask, PADDING if self.masked else torch.nan), mask


class Split(ObsMasked, nn.Module):
    """z ~ N(0, 1), x_t ~ N(z, 1) with an ``obs_mask``, so that the guide draws what is missing of x as well."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def guide(self, x, mask):
        with pyro.plate("data", len(x), dim=-2):
            count = 1 + mask.sum(-1, keepdim=True)
            z = pyro.sample("z", dist.Normal(self.one * (x * mask).sum(-1, keepdim=True) / count, count**-0.5))
            with pyro.plate("time", T, dim=-1), poutine.mask(mask=~mask):
                pyro.sample("x_unobserved", dist.Normal(z, 1.0))

    @staticmethod
    def data():
        mask = lengths()
        return torch.where(mask, torch.randn(N, 1) + torch.randn(N, T), 9.0), mask


CASES = {
    "masks in plates": lambda: Local("plates"),
    "masked events": lambda: Local("events"),
    "masked steps of a chain": lambda: Path(masked=True),
    "gaps of a chain": lambda: Path(masked=False),
    "obs_mask": Split,
}


@pytest.mark.parametrize("name", CASES)
def test_an_exact_posterior_of_padded_data_has_no_advice(name):
    pair = CASES[name]()
    asked = [s for s in SECTIONS if s is not sections.inference_gap]  # which takes long, and has a test of its own
    diagnosis = pyvae.diagnose(pair, pair.data(), 50, 0, asked, progress=False)
    assert not diagnosis.advice
    calibrated = diagnosis.sections["calibration"].table
    assert (calibrated["p_value"] > 1e-3).all()
    assert diagnosis["coverage of 90 % intervals"].value == pytest.approx(90, abs=5)
    assert 0.005 < diagnosis["Bayesian p-value, prior"].value < 0.995
    assert len(diagnosis.sections["latents"].table) == (1 if name == "obs_mask" else T)


def test_the_kl_of_a_step_is_what_the_elbo_has_of_it():
    pair = Path(masked=True)
    data = pair.data()
    diagnosis = pyvae.diagnose(pair, data, 25, 0, [sections.latents], progress=False)
    for name, term in pyvae.elbo(pair, data, num_particles=300, seed=0).kl_terms.items():
        assert diagnosis[f"KL of {name}"].value == pytest.approx(float(term.mean()), abs=0.02)


@pytest.mark.parametrize("how", ["plates", "events"])
def test_a_collapse_shows_beside_padding(how):
    x, mask = Local.data()
    pair = Local(how, width=1.0)
    with torch.no_grad():
        pair.weight.zero_()
    diagnosis = pyvae.diagnose(pair, (x, mask), 25, 0, [sections.latents], progress=False)
    assert (diagnosis["collapsed dimensions"].value, diagnosis["active dimensions"].value) == (T, 0)


@pytest.mark.parametrize("how", ["plates", "events"])
def test_figures_of_latents_are_those_of_what_counts(how):
    pair, (x, mask) = Local(how, width=0.6), Local.data()
    table = pyvae.diagnose(pair, (x, mask), 25, 0, [sections.latents], progress=False).sections["latents"].table
    for t, row in table.iterrows():
        seen = x[mask[:, t], t] / 2
        kl = (seen.square().mean() + 0.36 - 1) / 2 - math.log(0.6)
        assert row["kl"] == pytest.approx(float(kl), rel=1e-4)
        assert row["activity"] == pytest.approx(float(seen.var()), rel=1e-4)
        assert row["share"] == pytest.approx(float(mask[:, t].float().mean()), abs=1e-6)
    total = float(pyvae.elbo(pair, (x, mask), num_particles=500, seed=0).kl.mean())
    assert float((table["kl"] * table["share"]).sum()) == pytest.approx(total, abs=0.01)


@pytest.mark.parametrize("how", ["plates", "events"])
@pytest.mark.parametrize(("change", "coverage"), [({"width": 0.3}, 0.515), ({"shift": 0.7}, 0.74)])
def test_a_wrong_guide_of_padded_data_is_found(how, change, coverage):
    """Coverages by hand: of ± 1.645 · 0.3 under N(0, 1/2), and of a shift by 0.7 of its 90 % interval."""
    half = torch.distributions.Normal(0.0, 0.5**0.5)
    end, shift = 1.645 * change.get("width", 0.5**0.5), change.get("shift", 0.0)
    expected = float(half.cdf(torch.tensor(shift + end)) - half.cdf(torch.tensor(shift - end)))
    assert expected == pytest.approx(coverage, abs=0.02)
    section = pyvae.diagnose(Local(how, **change), Local.data(), 25, 0, [sections.calibration], progress=False)
    table = section.sections["calibration"].table
    assert float((table["coverage"] * table["count"]).sum() / table["count"].sum()) == pytest.approx(expected, abs=0.03)
    assert section.advice


def test_the_refinement_leaves_alone_what_is_masked():
    pair, (x, mask) = Local("events", shift=1.0), Local.data()
    x, mask = x[:16], mask[:16]
    section = pyvae.diagnose(pair, (x, mask), 25, 0, [sections.inference_gap], progress=False)
    table = section.sections["inference_gap"].table
    log_p = torch.where(mask, dist.Normal(0.0, 2**0.5).log_prob(x), 0).sum(1)
    found = torch.tensor(table["refined_elbo"].to_numpy())  # of all rows, in an order of their own
    torch.testing.assert_close(found.sort().values, log_p.double().sort().values, rtol=0, atol=0.05)
    # each step that counts loses shift² / (2 · 1/2) = 1 nat
    gap = section["amortization gap"]
    assert gap.value == pytest.approx(float(mask.sum(1).float().mean()), abs=5 * gap.standard_error + 0.1)


def test_data_that_do_not_fit_are_found_beside_padding():
    pair, (x, mask) = Local("plates"), (part[:150] for part in Local.data())
    wide = torch.where(mask, 1.5 * x, x)
    diagnosis = pyvae.diagnose(pair, (wide, mask), 25, 0, [sections.predictive], progress=False)
    table = diagnosis.sections["predictive"].table.groupby("statistic")["data"].first()
    assert table["mean"] == pytest.approx(float(wide[mask].mean()), abs=1e-6)
    assert table["standard deviation"] == pytest.approx(float(wide[mask].std(correction=0)), rel=1e-5)
    assert diagnosis["Bayesian p-value, prior"].value < 0.01
    assert any("another" in line for line in diagnosis.advice)


@pytest.mark.filterwarnings("error")
def test_steps_that_no_datapoint_has_are_no_dimensions():
    x, mask = Local.data()
    x[:, -1], mask[:, -1] = PADDING, False
    asked = [s for s in SECTIONS if s is not sections.inference_gap]
    diagnosis = pyvae.diagnose(Local("events"), (x, mask), 25, 0, asked, progress=False)
    assert not diagnosis.advice
    for name in ("calibration", "latents", "aggregated_posterior"):
        assert list(diagnosis.sections[name].table["dimension"]) == list(range(T - 1))
    none = (torch.full_like(x, PADDING), torch.zeros_like(mask))
    nothing = pyvae.diagnose(Local("events"), none, 25, 0, asked, progress=False)
    assert not nothing.advice
    skipped = {name: section.skipped for name, section in nothing.sections.items()}
    assert "all elements of ['z'] are masked" in skipped["calibration"]
    assert "all elements of the data are masked" in skipped["predictive"]
    for name in ("latents", "aggregated_posterior"):
        assert "fewer than 20 datapoints have a latent that is not masked" in skipped[name]


def test_pages_of_padded_data_have_their_pictures():
    diagnosis = pyvae.diagnose(Local("plates"), Local.data(), 25, 0, progress=False)
    assert diagnosis.to_html().count("<img") == sum(len(s.pictures) for s in diagnosis.sections.values()) > 3
