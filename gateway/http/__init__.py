"""HTTP: what surrounds a request, how it is parsed, and how it is answered."""
