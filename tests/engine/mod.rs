//! What is asked of a vendor and what comes of the answers: against recordings of the reference first, then where these
//! do not reach.

mod backfill;
mod backfill_windows;
mod bookmarks;
mod broken_answers;
mod credentials;
mod delete_histories;
mod deletes;
mod files;
mod jobs;
mod live_credentials;
mod lossless_walk;
mod oracle;
mod overlap;
mod paging;
mod rotation;
mod safety;
mod sweeps;
mod track;
mod transcripts;
