"""Jobs: many images in one request, computed by workers while the caller does something else."""
