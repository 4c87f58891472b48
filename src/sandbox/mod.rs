//! A simulated vendor: an HTTP API with tasks, users and projects of fictional tenants.
//!
//! Input: [`Settings`]. Output: a server on loopback that pages, filters, rate-limits, fails, edits and changes like
//! real vendors, deterministically. Called by `cli`: for `read --source sandbox`, for `dripfeed sandbox`, and so by
//! tests and benchmarks. It is small on purpose, and independent of the other wings.

mod cap;
mod change;
mod data;
mod server;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::base::fault::{Fault, Result};

/// The token of the sandbox's first tenant; `sandbox-token-NAME` is tenant NAME's.
pub const TOKEN: &str = "sandbox-token";

/// How lists are paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Paging {
    /// Tokens that name a position in the order
    Keyset,
    /// Row numbers, which shift when rows are edited
    Offset,
}

/// What the sandbox serves.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The port; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The seed of the data
    #[arg(long, default_value_t = 1, hide_short_help = true)]
    pub seed: u64,
    /// Tasks of each tenant
    #[arg(long, default_value_t = 1000)]
    pub tasks: u64,
    /// Users of each tenant
    #[arg(long, default_value_t = 50)]
    pub users: u64,
    /// Projects of each tenant
    #[arg(long, default_value_t = 20)]
    pub projects: u64,
    /// How lists are paged
    #[arg(long, value_enum, default_value = "keyset", hide_short_help = true)]
    pub paging: Paging,
    /// Calls that each tenant may make per period; more get 429
    ///
    /// Counted in fixed windows (with X-RateLimit headers), in any window, or as a bucket that holds BURST.
    #[arg(long, value_name = "CALLS/SECONDS[:fixed|:window|:bucket[:BURST]]", value_parser = cap::Cap::parse)]
    pub cap: Option<cap::Cap>,
    /// Milliseconds before each response
    #[arg(long, default_value_t = 0)]
    pub latency: u64,
    /// Milliseconds by which --latency varies, up and down, at random
    #[arg(long, default_value_t = 0, hide_short_help = true)]
    pub jitter: u64,
    /// Tasks to edit with each served page of tasks, up to --edits-total
    #[arg(long, default_value_t = 0, hide_short_help = true)]
    pub edits: u64,
    /// The maximum number of edits
    #[arg(long, default_value_t = 0, hide_short_help = true)]
    pub edits_total: u64,
    /// Edits of tasks before the sandbox starts: the same vendor at a later time
    #[arg(long, default_value_t = 0, hide_short_help = true)]
    pub edited: u64,
    /// Break every Nth response: reset, cut, slow, 5xx, html or 401; repeatable
    #[arg(long, value_name = "KIND:N", value_parser = server::Breakage::parse)]
    pub fault: Vec<server::Breakage>,
    /// Change the API as vendors do
    #[arg(long, value_name = "CHANGE[@TENANT][:every=N][:after=CALLS]", value_parser = change::StagedChange::parse,
        hide_short_help = true, long_help = change::help())]
    pub change: Vec<change::StagedChange>,
    /// Respond without compression
    #[arg(long, hide_short_help = true)]
    pub no_gzip: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            port: 0,
            seed: 1,
            tasks: 1000,
            users: 50,
            projects: 20,
            paging: Paging::Keyset,
            cap: None,
            latency: 0,
            jitter: 0,
            edits: 0,
            edits_total: 0,
            edited: 0,
            fault: Vec::new(),
            change: Vec::new(),
            no_gzip: false,
        }
    }
}

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    port: u16,
}

impl Sandbox {
    /// Starts the server; it runs until the process ends.
    pub fn start(settings: &Settings) -> Result<Sandbox> {
        let listen = |e: &std::io::Error| Fault::local("the sandbox cannot listen", e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port)).map_err(|e| listen(&e))?;
        let port = listener.local_addr().map_err(|e| listen(&e))?.port();
        let vendor = Arc::new(server::Vendor::new(settings.clone()));
        std::thread::spawn(move || server::serve(&listener, &vendor));
        Ok(Sandbox { port })
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
