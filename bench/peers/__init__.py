"""The same work through other servers, each in an environment of its own."""
