//! Bytes to messages and back, one connection at a time. No sockets, no clock.
