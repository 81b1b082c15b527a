"""Tests of the fault catalogue (tests/faults.rst)."""
