//! What holds for this repository's own code.

mod counts;
mod layers;
