"""Support for tests: servers, each in its own process, and fakes."""
