"""The subcommands of `image-gateway`."""
