"""What the rate limits hold for, and the fields by which an answer tells of them, whether or not a limit is set."""

RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
LIMITED_BLUEPRINT = "api"
