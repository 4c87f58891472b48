//! One tenant among many: what its runs leave behind, and what others make of it.
//!
//! Input: the accounts of runs. Output: the record of each tenant, its bookmarks, its alerts, its place in a
//! schedule. Called by `cli`. Tenants share nothing here: each has files and locks of its own.

pub mod alert;
pub mod bookmarks;
pub mod locks;
pub mod reread_marks;
pub mod run_record;
pub mod schedule;
pub mod status;
pub mod target_command;
