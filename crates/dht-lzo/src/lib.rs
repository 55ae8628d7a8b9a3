//! LZO1X compression: bytes to bytes, nothing else.
