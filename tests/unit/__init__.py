"""Tests of pure code: they neither sleep nor touch the network."""
