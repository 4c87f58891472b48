//! The messages that come out: Singer's rules and Airbyte's.

mod airbyte;
mod catalog_words;
mod singer_rules;
mod states;
mod table_names;
