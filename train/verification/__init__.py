"""Measuring finished runs, model servers and running gateways."""
