"""Fuzzing of the HTTP client: millions of random responses."""
