"""The suite compiles quickly (conftest.py); compiler options for the tests that are about what users get."""

USERS_PROGRAM = {"xla_backend_optimization_level": 3, "xla_backend_extra_options": ""}
"""Machine code as users run it."""

USERS_TEXT = {"xla_backend_extra_options": ""}
"""XLA's text of a program as users get it: LLVM's level comes after that, it is the same text at each."""
