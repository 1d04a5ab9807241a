"""Guides: x (and context) to a distribution of z."""

from pyvae.guides.diagonal_normal import DiagonalNormal
from pyvae.guides.guide import Guide

__all__ = ["DiagonalNormal", "Guide"]
