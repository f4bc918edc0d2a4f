"""Search methods, one file each; each exports one settings dataclass with `build(space, budget)`."""
