//! The node: sockets, workers, handlers, start and stop.
