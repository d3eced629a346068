"""Decoding in sandboxed processes, for image files that are not plain and cheap."""
