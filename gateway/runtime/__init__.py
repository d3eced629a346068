"""What the process is made of: gunicorn's worker, memory, serverless events."""
