//! The messages that come out: Singer's rules and Airbyte's.

mod airbyte;
mod singer_rules;
