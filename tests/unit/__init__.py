"""Tests of pure code, which neither sleep nor use the network."""
