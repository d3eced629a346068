"""The models and versions to serve, and their life cycle from loading to unloading."""
