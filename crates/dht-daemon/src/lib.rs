//! What every daemon of the family shares: options, INI files, logs, pid lock, command sockets.
