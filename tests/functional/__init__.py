"""Tests against servers on the loopback interface, which the tests start themselves."""
