"""Fuzzing of the HTTP client and of the reader of listings: millions of random responses and pages."""
