"""The contract of transports, for every library that is supported, over real sockets."""
