"""Tools of the tests, and tests of the tools."""
