"""Programs of the repository itself: start the local stack, renew generated files."""
