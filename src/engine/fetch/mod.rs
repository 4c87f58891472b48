//! Sends requests and gets answers, with tries, waits and limits.
//!
//! Input: a [`request::PreparedRequest`] and an [`retry::ErrorPlan`]. Output: an [`Outcome`]: a page to read, or
//! none because the manifest ignores the error; else a fault. Called by `run`, from several threads. Credentials leave
//! for the manifest's own origin only.

pub mod address;
mod attempts;
mod body_error;
mod breaker;
mod cache;
mod connection;
mod fields;
mod headers;
mod redirects;
pub mod request;
pub mod retry;
mod transport;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use ureq::http::HeaderMap;

use crate::base::fault::Result;
use crate::base::stop::Stop;
use crate::manifest::template::EvalContext;
use crate::pace::Pace;
use crate::pace::limiter::WaitReason;
use breaker::Breaker;
use cache::Found;
use request::PreparedRequest;
use retry::{ErrorPlan, Remedy};
use transport::Transport;

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Vec<u8>,
    /// From the request to the end of the answer.
    pub took: Duration,
    /// The address that was asked.
    pub url: String,
    /// Was it at hand, and not asked for?
    pub embedded: bool,
    /// Bytes of the body that stand in the file of [`SendRequest::into`], and not here.
    pub filed: Option<u64>,
    /// The error that the body reports beside what the stream reads, unless the manifest takes it for a success.
    pub error: Option<String>,
    /// What tells that the body is whole.
    pub end: BodyEnd,
}

/// What tells that a body is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Its length, its chunks or its packing.
    Known,
    /// Nothing but the end of the connection.
    Connection,
    /// Nothing, and the connection broke off: TLS that was not closed, a reset.
    BrokenOff,
}

/// An answer whose body was no whole one: it is asked for again.
#[derive(Debug, Clone)]
pub struct BrokenBody {
    /// What was wrong with it.
    pub reason: String,
    /// How often it came so.
    pub tries: u32,
}

impl Reply {
    /// A page that is at hand already, as an answer.
    pub fn embedded(page: &Json) -> Reply {
        let body = page.to_string().into_bytes();
        let (headers, took, url) = (HeaderMap::new(), Duration::ZERO, String::new());
        let end = BodyEnd::Known;
        Reply { status: 200, headers, body, took, url, embedded: true, filed: None, error: None, end }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The vendor's clock when it was asked, if it tells one: what changed before may be in the answer, what changed
    /// later is not.
    pub fn asked_at(&self) -> Option<OffsetDateTime> {
        let answered = OffsetDateTime::from(httpdate::parse_http_date(self.header("date")?).ok()?);
        answered.checked_sub(self.took.try_into().ok()?)
    }

    /// The vendor's clock when it answered, if it tells one; what a cache kept of it has an age.
    pub fn answered_at(&self) -> Option<OffsetDateTime> {
        let written = OffsetDateTime::from(httpdate::parse_http_date(self.header("date")?).ok()?);
        let age = self.header("age").and_then(|age| age.trim().parse::<u32>().ok()).unwrap_or(0);
        written.checked_add(time::Duration::seconds(age.into()))
    }

    /// The headers as an object, under lower-case names and in the usual spelling, with `link` taken apart
    /// where paging asks for it.
    pub fn headers_json(&self, with_links: bool) -> Json {
        headers::json(&self.headers, with_links)
    }
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A page to read.
    Page(Reply),
    /// An error of this status, which the manifest ignores: no records, no more pages.
    Ignored(u16),
    /// The slice is to be asked for otherwise; why.
    Recover(Remedy, String),
}

/// Is an answer kept for streams that will ask the same?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// No.
    No,
    /// Yes, and one that was kept serves.
    Yes,
    /// Yes, but the vendor is asked anew.
    Anew,
}

/// Credentials that are taken anew for each try of a request: tokens that run out, or that take turns.
pub trait LiveCredentials: std::fmt::Debug {
    /// Whose they are: an answer that was kept for one does not serve another.
    fn owner(&self) -> usize;

    /// Do tokens take turns, so that what is said of one is not said of the account?
    fn take_turns(&self) -> bool;

    /// The next try of the request, signed; may fetch a token, or wait until one can be had.
    fn sign(&self) -> Result<PreparedRequest>;

    /// The signed request, or where it was redirected to, signed anew; nothing while its credentials live.
    fn sign_again(&self, request: &PreparedRequest) -> Result<Option<PreparedRequest>>;

    /// An answer came to it.
    fn answered(&self, reply: &Reply);

    /// Can others be had at once, while those of the last try are used up?
    fn others(&self) -> bool;

    /// The vendor refused those of the last try: are there others for the next?
    fn renew(&self) -> Result<bool>;
}

/// A request, with what is done about errors and for whom it is.
#[derive(Clone, Copy)]
pub struct SendRequest<'a> {
    /// What is sent; without its credentials, where those are taken for each try.
    pub request: &'a PreparedRequest,
    /// What is done about errors.
    pub errors: &'a ErrorPlan,
    /// Is the answer kept?
    pub keep: CacheMode,
    /// The stream that it is for.
    pub stream: &'a str,
    /// The partition of that stream.
    pub partition: &'a Map<String, Json>,
    /// A file takes the body of a good answer that is large: it is as long as it is.
    pub into: Option<&'a File>,
    /// Does a JSON body hold what is read of it, be it empty? One that does not, and reports an error, is tried again.
    pub holds: Option<&'a dyn Fn(&[u8]) -> bool>,
    /// Is the body JSON that nobody walks later? One that is broken is tried again.
    pub json: bool,
    /// What came before was broken: it is waited, and counted, as after a try that failed.
    pub broken: Option<&'a BrokenBody>,
    /// Signs each try, where credentials do not last.
    pub credentials: Option<&'a dyn LiveCredentials>,
    /// Does it wait for the account's pace? Only what is part of another call, which has leave to be sent, does not.
    pub paced: bool,
}

/// What happens to a request, for logs and metrics.
#[derive(Debug)]
pub enum Event<'a> {
    /// It waits for the account's pace: for so long at least, and why.
    Waits(Duration, WaitReason),
    /// It waited for the account's pace.
    Waited(Duration),
    /// It goes out.
    Sent,
    /// An answer came.
    Answered {
        /// Its status.
        status: u16,
        /// How long it took.
        took: Duration,
        /// Bytes of its body.
        bytes: usize,
    },
    /// It is tried again.
    Retrying {
        /// Why.
        reason: &'a str,
        /// Tries so far.
        tries: u32,
        /// Time until then.
        wait: Duration,
        /// Did the vendor say that it is too much?
        limited: bool,
    },
    /// An error is ignored, as the manifest says: the slice has no more records.
    Ignored {
        /// The answer's status.
        status: u16,
        /// What the manifest or the reference says about it.
        reason: &'a str,
    },
    /// The slice is asked for otherwise, as the manifest says.
    Otherwise {
        /// The answer's status.
        status: u16,
        /// How.
        remedy: Remedy,
        /// What the manifest or the reference says about it.
        reason: &'a str,
    },
}

/// Hears of events.
pub type Listener = Arc<dyn Fn(&SendRequest<'_>, &Event<'_>) + Send + Sync>;

/// Limits of a run.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body after decompression, in bytes.
    pub max_page_bytes: u64,
    /// Hosts beside the manifest's own that may be asked.
    pub allowed_hosts: Vec<String>,
}

/// Sends requests. Shared by all threads of a run.
pub struct Fetcher {
    transport: Transport,
    limits: Limits,
    pace: Arc<Pace>,
    cx: Arc<EvalContext>,
    stop: Arc<Stop>,
    listener: Listener,
    cache: cache::Cache,
    breaker: Breaker,
    reached: AtomicBool,
}

impl Fetcher {
    /// A fetcher for one run.
    pub fn new(limits: Limits, pace: Arc<Pace>, cx: Arc<EvalContext>, stop: Arc<Stop>, listener: Listener) -> Self {
        Fetcher {
            transport: Transport::new(limits.max_page_bytes, stop.clone()),
            limits,
            pace,
            cx,
            stop,
            listener,
            cache: cache::Cache::default(),
            breaker: Breaker::default(),
            reached: AtomicBool::new(false),
        }
    }

    /// The account's pace.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The largest body that is read, in bytes.
    pub fn max_page_bytes(&self) -> u64 {
        self.limits.max_page_bytes
    }

    /// Sends a request until its handler is content.
    pub fn send(&self, ask: &SendRequest<'_>) -> Result<Outcome> {
        if ask.keep == CacheMode::No {
            return self.send_anew(ask);
        }
        let key = cache::key(ask.request, ask.credentials.map(LiveCredentials::owner));
        let claim = match self.cache.get(key, &ask.request.url, ask.keep == CacheMode::Anew, &self.stop)? {
            Found::Reply(reply) => return Ok(Outcome::Page(reply)),
            Found::Nothing(claim) => claim,
        };
        let outcome = self.send_anew(ask)?;
        if let Outcome::Page(reply) = &outcome
            && reply.error.is_none()
        {
            claim.keep(ask.request, reply)?;
        }
        Ok(outcome)
    }
}

/// The error that a body reports, as far as it reports one.
pub fn reported_error(body: &Json) -> Option<String> {
    body_error::of_json(body).map(|error| error.text)
}

/// A request for people: method and address without its query, where secrets may stand.
pub fn shown(request: &PreparedRequest) -> String {
    let address = request.url.split(['?', '#']).next().unwrap_or(&request.url);
    let address = match (address.split_once("://"), address.split_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !rest.is_empty() => format!("{scheme}://{rest}"),
        _ => address.to_owned(),
    };
    format!("{} {address}", request.method)
}

/// A request for those who asked for more: also the names of its query parameters, never their values.
pub fn shown_with_query(request: &PreparedRequest) -> String {
    let query = request.url.split_once('?').map_or("", |(_, q)| q);
    let names: Vec<&str> =
        query.split('&').filter(|p| !p.is_empty()).map(|p| p.split('=').next().unwrap_or(p)).collect();
    if names.is_empty() { shown(request) } else { format!("{}?{}", shown(request), names.join("=…&") + "=…") }
}

/// A number from 0 to 1, for jitter.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now()) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}
