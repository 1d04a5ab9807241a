"""Inspection: the structure of a pair, found by running it once."""

from pyvae.inspection.checks import check_data, check_shapes, validated_sites
from pyvae.inspection.densities import LogTerms, density
from pyvae.inspection.generation import Unobserved, reads_data
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair, takes_missing, trace_programs
from pyvae.inspection.plates import choose_plate, plate_factor, plates_around
from pyvae.inspection.sites import (
    PARTICLES,
    as_matrix,
    check_latents,
    guide_observations,
    guide_terms,
    has_density,
    has_support,
    is_discrete,
    is_factor,
    site_rows,
    stochastic_sites,
    summed_but,
    unwrapped,
)

__all__ = [
    "PARTICLES",
    "Inspection",
    "LogTerms",
    "Unobserved",
    "as_matrix",
    "check_data",
    "check_latents",
    "check_shapes",
    "choose_plate",
    "density",
    "device_of",
    "guide_observations",
    "guide_terms",
    "has_density",
    "has_support",
    "inspect_pair",
    "is_discrete",
    "is_factor",
    "plate_factor",
    "plates_around",
    "reads_data",
    "site_rows",
    "stochastic_sites",
    "summed_but",
    "takes_missing",
    "trace_programs",
    "unwrapped",
    "validated_sites",
]
