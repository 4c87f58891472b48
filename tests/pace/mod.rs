//! Limits of a vendor: what the limiter promises, and what the vendor sees of it.

mod limiter;
mod vendor_view;
