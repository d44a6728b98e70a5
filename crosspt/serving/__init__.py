"""A server that answers rows of many tasks over HTTP; it needs the packages of the extra ``serve``."""
