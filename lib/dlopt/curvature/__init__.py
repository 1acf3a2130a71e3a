"""The Hessian of a loss, seen through its products: exact when small, by Lanczos when not."""

from dlopt.curvature.lanczos import (
    SpectralDensity,
    Tridiagonal,
    lanczos,
    spectral_density,
    top_eigenvalues,
)
from dlopt.curvature.products import HessianOperator, gradient_curvature, hessian, hvp

__all__ = ["HessianOperator", "SpectralDensity", "Tridiagonal", "gradient_curvature", "hessian", "hvp", "lanczos",
           "spectral_density", "top_eigenvalues"]
