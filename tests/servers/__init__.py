"""Real servers for tests, each a process of its own on free ports of 127.0.0.1."""
