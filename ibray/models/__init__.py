"""Noisy architectures by name: ``get_model("resnet18", num_classes=10, sigma=0.4)``."""

from ibray.models.noise import GaussianNoise
from ibray.models.registry import MODELS, ModelEntry, get_model, resolve_params

__all__ = ["MODELS", "GaussianNoise", "ModelEntry", "get_model", "resolve_params"]
