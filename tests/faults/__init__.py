"""Tests of the fault catalogue."""
