"""Search spaces, one file each: architectures as fixed-shape pytrees of small integers."""

if __name__ != "nasjax.spaces":
    raise ImportError("import nasjax.spaces, not spaces: a module must not exist twice")
