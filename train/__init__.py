"""Child networks: data, skeletons, recipes, and executors that train whole populations."""

if __name__ != "nasjax.train":
    raise ImportError("import nasjax.train, not train: a module must not exist twice")
