//! Tenants: what their runs leave behind, and the tools that use it.
//!
//! Input: the results of runs. Output: each tenant's run record, bookmarks, alerts and schedule. Called by `run` and
//! `cli`. Tenants share nothing here: each has its own files and locks.

pub mod alert;
pub mod bookmarks;
pub mod locks;
pub mod reread_marks;
pub mod run_record;
pub mod schedule;
pub mod status;
pub mod target_command;
