"""Suite-wide switches that turn silent mistakes into errors, and where the benchmark data lie."""

import os
import pathlib

# Compiling is nearly all that the suite costs: 3.0 CPU-seconds for the gradient of a small generator's loss as users compile
# it, 1.7 without LLVM's optimisation, 0.5 with XLA's older emitters as well (jax 0.12 has them no more, and ignores their
# name). That makes other machine code of the same programs: slower, and with other last bits of sums, while what the tests
# are about is what our programs compute. Tests about users' machine code or XLA's text of it ask for that (compiling.py);
# tested commands run in processes with an environment of their own, compiled as users do. NASJAX_TEST_XLA=default compiles
# all of the suite so. (XLA reads no flag that stands after "intra_op".)
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters "
    * (os.environ.get("NASJAX_TEST_XLA") != "default")
    + "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
if "NASJAX_TEST_CACHE" in os.environ:  # a second run of the suite need not compile again
    jax.config.update("jax_compilation_cache_dir", os.environ["NASJAX_TEST_CACHE"])

# Compilation breaks hypothesis's default deadline of 200 ms; the suite must not depend on luck.
hypothesis.settings.register_profile("nasjax", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("nasjax")


@pytest.fixture(scope="session")
def published_data() -> pathlib.Path:
    """The folder of published tables and images (`NASJAX_DATA`); tests that need it are skipped where it is absent."""
    folder = os.environ.get("NASJAX_DATA")
    if not folder:
        pytest.skip("NASJAX_DATA names no folder of published data")
    return pathlib.Path(folder)
