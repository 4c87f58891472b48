//! What holds for any input: bytes, texts, times, ranges.

mod properties;
