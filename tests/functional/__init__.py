"""Tests against servers on the loopback interface that the tests start themselves."""
