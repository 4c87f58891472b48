//! What a manifest may hold: templates, components, and input that is refused.

mod bad_input;
mod broken;
mod lints;
mod schema;
mod tables;
mod texts;
mod vocabulary;
