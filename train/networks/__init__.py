"""The networks, and the augmentation of their training images."""
