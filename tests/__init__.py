"""Tests of s3po: of pure code, against local servers, and against a real store."""
