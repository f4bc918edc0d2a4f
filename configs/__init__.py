"""Runnable experiments, one file each with `config()`; the docstring is the record of what it shows."""

if __name__ != "nasjax.configs":
    raise ImportError("import nasjax.configs, not configs: a module must not exist twice")
