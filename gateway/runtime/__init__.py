"""The process around the application: gunicorn's worker, memory settings and serverless events."""
