//! The components of a declarative manifest that dripfeed supports, one definition each.
//!
//! Input: nodes, through [`super::node::Read`]. Output: typed definitions, which each stage's `build` compiles. Names
//! and fields are those of airbyte-cdk's `declarative_component_schema.yaml`; fields and components under `later`
//! exist there, and are refused here by name.

mod auth;
mod cursor;
mod decoder;
mod dynamic;
mod files;
mod http;
mod jobs;
mod paginator;
mod partition;
mod properties;
mod retriever;
mod rules;
mod selector;
mod source;
mod stream;
mod transformation;

pub use auth::*;
pub use cursor::*;
pub use decoder::*;
pub use dynamic::*;
pub use files::*;
pub use http::*;
pub use jobs::*;
pub use paginator::*;
pub use partition::*;
pub use properties::*;
pub use retriever::*;
pub use rules::*;
pub use selector::*;
pub use source::*;
pub use stream::*;
pub use transformation::*;
