"""Bundle: the folder of artifacts that a user loads; `sidestep.load(path)` is its door."""
