"""The tests of s3po: pure ones, ones against servers of their own, ones against a real store."""
