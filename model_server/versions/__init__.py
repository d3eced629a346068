"""Which models and versions there are, and their life from loading to unloading."""
