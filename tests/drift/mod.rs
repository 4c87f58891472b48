//! Changes of a vendor: what finds them, what raises nothing, what is done about them.

mod accept;
mod airbyte;
mod alarms;
mod answers;
mod chance;
mod detection;
mod poison;
mod policies;
mod tenants;
mod values;
mod vendors;
mod verbs;
