//! Sends requests and returns responses, with retries, waits and limits.
//!
//! Input: a [`request::PreparedRequest`] and an [`retry::ErrorPlan`]. Output: an [`Outcome`]: a page to read, or none
//! because the manifest ignores the error; otherwise a fault. Called by `requester`, from several threads.
//! Credentials are sent only to the manifest's own origin.

pub mod address;
mod attempts;
mod body_error;
mod breaker;
mod cache;
mod fields;
mod headers;
mod redirects;
pub mod request;
pub mod retry;
mod shown;
mod transport;
mod vendor_error;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use ureq::http::HeaderMap;

use crate::base::config::secret::SharedSecrets;
use crate::base::fault::Result;
use crate::base::http::Network;
use crate::base::stop::Stop;
use crate::manifest::template::EvalContext;
use crate::pace::Pace;
use crate::pace::limiter::WaitReason;
use breaker::Breaker;
use cache::Found;
use request::PreparedRequest;
use retry::{ErrorPlan, Remedy};
pub use shown::{parameters, shown, shown_with_query};
use transport::Transport;

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The response headers.
    pub headers: HeaderMap,
    /// The decompressed body.
    pub body: Vec<u8>,
    /// The time from the request to the end of the response.
    pub took: Duration,
    /// The requested URL.
    pub url: String,
    /// Was the page already available, without a request?
    pub embedded: bool,
    /// Bytes of the body in the file of [`SendRequest::into`] instead of here.
    pub filed: Option<u64>,
    /// The error that the body reports alongside the data, unless the manifest treats it as success.
    pub error: Option<String>,
    /// What shows that the body is complete.
    pub end: BodyEnd,
}

/// What shows that a body is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Content length, chunked encoding or compression.
    Known,
    /// Only the end of the connection.
    Connection,
    /// Nothing, and the connection broke off: TLS without `close_notify`, or a reset.
    BrokenOff,
}

/// A response with an incomplete body: it is requested again.
#[derive(Debug, Clone)]
pub struct BrokenBody {
    /// What was wrong with the body.
    pub reason: String,
    /// How many times the body was broken.
    pub tries: u32,
}

impl Reply {
    /// A page that is already available, as a response.
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

    /// The vendor's clock at the time of the request, if it is known. Earlier changes may be in the response, later
    /// ones are not.
    pub fn asked_at(&self) -> Option<OffsetDateTime> {
        let answered = OffsetDateTime::from(httpdate::parse_http_date(self.header("date")?).ok()?);
        answered.checked_sub(self.took.try_into().ok()?)
    }

    /// The vendor's clock at the time of the response, if it is known; a cached response has an age.
    pub fn answered_at(&self) -> Option<OffsetDateTime> {
        let written = OffsetDateTime::from(httpdate::parse_http_date(self.header("date")?).ok()?);
        let age = self.header("age").and_then(|age| age.trim().parse::<u32>().ok()).unwrap_or(0);
        written.checked_add(time::Duration::seconds(age.into()))
    }

    /// The headers as an object, under lower-case names and in the usual spelling; `link` is parsed if paging uses
    /// it.
    pub fn headers_json(&self, with_links: bool) -> Json {
        headers::json(&self.headers, with_links)
    }
}

/// The result of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A page to read.
    Page(Reply),
    /// An error status that the manifest ignores: no records, no more pages.
    Ignored(u16),
    /// The slice must be requested in another way, with the reason.
    Recover(Remedy, String),
}

/// Is a response cached for streams that send the same request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// Not cached.
    No,
    /// Cached, and an earlier response is used.
    Yes,
    /// Cached, but the vendor is asked again.
    Anew,
}

/// Credentials that are obtained for each attempt of a request: tokens that expire or rotate.
pub trait LiveCredentials: std::fmt::Debug {
    /// The identity of the credentials: a response cached for one does not serve another.
    fn owner(&self) -> usize;

    /// Do tokens rotate, so that limits of one token are not limits of the account?
    fn take_turns(&self) -> bool;

    /// The signed request for the next attempt; may fetch a token, or wait for one.
    fn sign(&self) -> Result<PreparedRequest>;

    /// Signs the request again, or the target of its redirect; `None` while its credentials are valid.
    fn sign_again(&self, request: &PreparedRequest) -> Result<Option<PreparedRequest>>;

    /// Called for each response.
    fn answered(&self, reply: &Reply);

    /// Are other credentials available now, while those of the last attempt are used up?
    fn others(&self) -> bool;

    /// The vendor rejected the credentials of the last attempt: are there others?
    fn renew(&self) -> Result<bool>;
}

/// A request, how its errors are handled, and its stream.
#[derive(Clone, Copy)]
pub struct SendRequest<'a> {
    /// The request; without credentials if they are obtained for each attempt.
    pub request: &'a PreparedRequest,
    /// How errors are handled.
    pub errors: &'a ErrorPlan,
    /// Is the response cached?
    pub keep: CacheMode,
    /// The stream of the request.
    pub stream: &'a str,
    /// The partition of that stream.
    pub partition: &'a Map<String, Json>,
    /// The file for a large body of a successful response; its size is not limited.
    pub into: Option<&'a File>,
    /// Does a JSON body contain the data to read, even if empty? A body that does not, and reports an error, is
    /// retried.
    pub holds: Option<&'a dyn Fn(&[u8]) -> bool>,
    /// Is the body JSON that no later stage scans? A broken one is retried.
    pub json: bool,
    /// The earlier response was broken: wait and count as after a failed attempt.
    pub broken: Option<&'a BrokenBody>,
    /// Does the response hold a token, which nobody knows yet?
    pub login: bool,
    /// Signs each attempt, if credentials expire.
    pub credentials: Option<&'a dyn LiveCredentials>,
    /// Does the request wait for the account's pace? False only for a part of another call that already has its
    /// permit.
    pub paced: bool,
}

/// What happens to a request, for logs and metrics.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request waits for the account's pace: the minimum wait, and the reason.
    Waits(Duration, WaitReason),
    /// The request waited for the account's pace.
    Waited(Duration),
    /// The request is sent.
    Sent,
    /// A response arrived, whatever its status.
    Answered {
        /// The response.
        reply: &'a Reply,
        /// The size of the body in bytes; the body itself may be in a file.
        bytes: usize,
    },
    /// The request is retried.
    Retrying {
        /// The reason.
        reason: &'a str,
        /// Attempts so far.
        tries: u32,
        /// Time until the next attempt.
        wait: Duration,
        /// Was the response a rate limit?
        limited: bool,
    },
    /// An error is ignored, as the manifest defines: the slice has no more records.
    Ignored {
        /// The HTTP status.
        status: u16,
        /// The explanation from the manifest or the reference.
        reason: &'a str,
    },
    /// The slice is requested in another way, as the manifest defines.
    Otherwise {
        /// The HTTP status.
        status: u16,
        /// The other way.
        remedy: Remedy,
        /// The explanation from the manifest or the reference.
        reason: &'a str,
    },
}

/// Receives events.
pub type Listener = Arc<dyn Fn(&SendRequest<'_>, &Event<'_>) + Send + Sync>;

/// Limits of a run.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body after decompression, in bytes.
    pub max_page_bytes: u64,
    /// Hosts that may receive requests, in addition to the manifest's own.
    pub allowed_hosts: Vec<String>,
    /// How servers are reached.
    pub network: Network,
    /// Does a user wait for the result (`check`, `test`)? Then an unknown host is tried twice only: it is probably
    /// misspelled.
    pub is_awaited: bool,
    /// What no quote of a vendor may show.
    pub secrets: SharedSecrets,
}

/// The hint for a stream that is refused while others are not.
pub const NO_PERMISSION: &str =
    "the credentials work for other streams: have their permission for this stream restored, or deselect it";

/// Sends requests; shared by all threads of a run.
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
    pub fn new(
        limits: Limits,
        pace: Arc<Pace>,
        cx: Arc<EvalContext>,
        stop: Arc<Stop>,
        listener: Listener,
    ) -> Result<Self> {
        Ok(Fetcher {
            transport: Transport::new(&limits, stop.clone())?,
            limits,
            pace,
            cx,
            stop,
            listener,
            cache: cache::Cache::default(),
            breaker: Breaker::default(),
            reached: AtomicBool::new(false),
        })
    }

    /// Takes a body that is no longer needed, as the buffer of another one.
    pub fn reuse(&self, body: Vec<u8>) {
        self.transport.reuse(body);
    }

    /// The account's pace.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The largest body that is read, in bytes.
    pub fn max_page_bytes(&self) -> u64 {
        self.limits.max_page_bytes
    }

    /// Sends a request until its error handler accepts the result.
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

/// The error that a body reports, if any.
pub fn reported_error(body: &Json) -> Option<String> {
    body_error::of_json(body).map(|error| error.text)
}

/// A number from 0 to 1, for jitter.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now()) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}
