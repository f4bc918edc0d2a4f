"""Neural architecture search with learned graph models, on JAX."""

__version__ = "0.1.0"
