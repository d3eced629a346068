"""Fetching of images by URL, within the operator's rules and limits."""
