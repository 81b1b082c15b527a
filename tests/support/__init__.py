"""Servers that the tests run against, each in a process of its own."""
