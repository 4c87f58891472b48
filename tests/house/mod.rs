//! What holds for this repository's own code.

mod layers;
