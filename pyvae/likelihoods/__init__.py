"""Likelihoods: z (and context) to a distribution of x."""

from pyvae.likelihoods.bernoulli import Bernoulli
from pyvae.likelihoods.categorical import Categorical
from pyvae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyvae.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyvae.likelihoods.heteroscedastic_normal import HeteroscedasticNormal
from pyvae.likelihoods.laplace import Laplace
from pyvae.likelihoods.likelihood import Likelihood
from pyvae.likelihoods.missing_at_random import MissingAtRandom
from pyvae.likelihoods.negative_binomial import NegativeBinomial
from pyvae.likelihoods.normal import Normal
from pyvae.likelihoods.poisson import Poisson
from pyvae.likelihoods.student_t import StudentT
from pyvae.likelihoods.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogisticMixture",
    "HeteroscedasticNormal",
    "Laplace",
    "Likelihood",
    "MissingAtRandom",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
