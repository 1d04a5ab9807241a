"""Inspection: the structure of a pair, found by running it once."""

from pyvae.inspection.checks import check_data, check_measures, check_shapes, validated_sites
from pyvae.inspection.densities import LogTerms, density
from pyvae.inspection.elements import check_masks, counted, holds_missing, marked, observes
from pyvae.inspection.enumeration import enumerated_traces, marginal_terms, refuse_summed_out
from pyvae.inspection.generation import Unobserved, reads_data
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair, takes_missing, trace_programs
from pyvae.inspection.nonfinite import Culprit, first_nonfinite_site
from pyvae.inspection.plates import choose_plate, plate_factor, plates_around
from pyvae.inspection.sites import (
    PARTICLES,
    as_matrix,
    check_latents,
    element_log_probs,
    guide_observations,
    guide_terms,
    has_density,
    has_support,
    in_words,
    instead_of_latents,
    is_discrete,
    is_factor,
    is_summed_out,
    site_rows,
    stochastic_sites,
    summed_but,
    support_in_words,
    unwrapped,
)

__all__ = [
    "PARTICLES",
    "Culprit",
    "Inspection",
    "LogTerms",
    "Unobserved",
    "as_matrix",
    "check_data",
    "check_latents",
    "check_masks",
    "check_measures",
    "check_shapes",
    "choose_plate",
    "counted",
    "density",
    "device_of",
    "element_log_probs",
    "enumerated_traces",
    "first_nonfinite_site",
    "guide_observations",
    "guide_terms",
    "has_density",
    "has_support",
    "holds_missing",
    "in_words",
    "inspect_pair",
    "instead_of_latents",
    "is_discrete",
    "is_factor",
    "is_summed_out",
    "marginal_terms",
    "marked",
    "observes",
    "plate_factor",
    "plates_around",
    "reads_data",
    "refuse_summed_out",
    "site_rows",
    "stochastic_sites",
    "summed_but",
    "support_in_words",
    "takes_missing",
    "trace_programs",
    "unwrapped",
    "validated_sites",
]
