"""What one would run without this project, to compare with. Each takes POST /predict with a part `image`."""
