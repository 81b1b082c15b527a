"""Tests against a real store, over HTTP and HTTPS."""
