//! Which node holds a key, connections, retries; a method for each request.
