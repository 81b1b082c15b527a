"""The fault catalogue, as tests."""
