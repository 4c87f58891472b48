//! Sends requests and gets answers, with tries, waits and limits.
//!
//! Comes in: a [`request::PreparedRequest`] and an [`retry::ErrorPlan`]. Goes out: an [`Outcome`]: a page to read, or none
//! because the manifest ignores the error; else a fault. Called by `run`, from several threads. Credentials leave for the
//! manifest's own origin only.

mod breaker;
mod cache;
pub mod request;
pub mod retry;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use ureq::http::{HeaderMap, Request};

use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::json::scan;
use crate::base::stop::Stop;
use crate::manifest::template::EvalContext;
use crate::pace::feedback::{self, Feedback};
use crate::pace::limiter::Why;
use crate::pace::{self, Pace, Waits};
use breaker::Breaker;
use cache::Found;
use request::{PreparedRequest, join, origin_of};
use retry::{Action, ErrorPlan, Remedy, Verdict};

/// A connection takes no longer, unless the manifest says otherwise.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Nor does the beginning of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Connections that are kept while nobody uses them: one for each thread that may read.
const CONNECTIONS: usize = 64;
/// Redirects that are followed in a row.
const MAX_REDIRECTS: usize = 10;
/// The reference gives up on a request after so long, in seconds.
const MAX_SECONDS: f64 = pace::PATIENCE.as_secs_f64();
/// The shortest wait that a server names, in seconds.
const LEAST_NAMED: f64 = 1.0;
/// The longest wait before a try that nobody named, in seconds.
const MAX_UNNAMED: f64 = 60.0;

/// A wait that the manifest's own strategy names is slept through up to so long, in seconds.
const MAX_PLANNED_SECONDS: f64 = 3600.0;

/// Waits for a token endpoint that is busy end after so long, in seconds.
const TOKEN_SECONDS: f64 = 300.0;

/// A try with other credentials comes so much later, in seconds.
const OTHERS_AFTER: f64 = 0.1;

/// Memory that is reserved on the word of a `Content-Length`, in bytes.
const MOST_RESERVED: u64 = 4 << 20;
/// So much of a file is held in memory at a time, in bytes.
const PIECE: usize = 256 << 10;
/// The body of a page takes no longer.
const PAGE_WITHIN: Duration = Duration::from_secs(300);
/// Nor does that of a file.
const FILE_WITHIN: Duration = Duration::from_secs(6 * 60 * 60);

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
}

impl Reply {
    /// A page that is at hand already, as an answer.
    pub fn embedded(page: &Json) -> Reply {
        let body = page.to_string().into_bytes();
        let (headers, took, url) = (HeaderMap::new(), Duration::ZERO, String::new());
        Reply { status: 200, headers, body, took, url, embedded: true, filed: None }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The vendor's clock when it was asked, if it tells one: what changed before may be in the answer, what changed later
    /// is not.
    pub fn asked_at(&self) -> Option<OffsetDateTime> {
        let answered = OffsetDateTime::from(httpdate::parse_http_date(self.header("date")?).ok()?);
        answered.checked_sub(self.took.try_into().ok()?)
    }

    /// The headers as an object, under lower-case names and in the usual spelling, with `link` taken apart
    /// where paging asks for it.
    pub fn headers_json(&self, with_links: bool) -> Json {
        let mut map = Map::new();
        for (name, value) in &self.headers {
            let value = Json::String(String::from_utf8_lossy(value.as_bytes()).into_owned());
            map.insert(name.as_str().into(), value.clone());
            map.insert(usual_case(name.as_str()), value);
        }
        if with_links && let Some(link) = self.header("link") {
            map.insert("link".into(), links(link));
        }
        Json::Object(map)
    }
}

/// `content-type` as `Content-Type`: the spelling that servers use, which HTTP/1 libraries do not keep.
fn usual_case(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut chars = part.chars();
        chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
    });
    parts.collect::<Vec<String>>().join("-")
}

/// A `Link` header as `{rel: {url, rel, …}}`, as `requests` parses it.
fn links(header: &str) -> Json {
    let mut out = Map::new();
    for part in header.split(", <").flat_map(|p| p.split(",<")) {
        let (url, parameters) = part.split_once(';').unwrap_or((part, ""));
        let url = url.trim_matches(['<', '>', ' ', '\'', '"']);
        let mut link = Map::new();
        link.insert("url".into(), url.into());
        for parameter in parameters.split(';') {
            if let Some((key, value)) = parameter.split_once('=') {
                let clean = |t: &str| Json::String(t.trim_matches(['>', ' ', '\'', '"']).into());
                link.insert(key.trim_matches([' ', '"', '\'']).into(), clean(value));
            }
        }
        let rel = link.get("rel").and_then(Json::as_str).unwrap_or(url).to_owned();
        out.insert(rel, Json::Object(link));
    }
    Json::Object(out)
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A page to read.
    Page(Reply),
    /// An error that the manifest ignores: no records, no more pages.
    Ignored,
    /// The slice is to be asked for otherwise; why.
    Recover(Remedy, String),
    /// The vendor refuses the token that was sent, and another can be fetched.
    Unauthorized(Fault),
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

/// Credentials of which each try of a request takes others.
pub trait TokenRotation: std::fmt::Debug {
    /// The next try of a request, signed; may wait until it can be.
    fn sign(&self, request: &PreparedRequest) -> Result<PreparedRequest>;

    /// An answer came to it.
    fn heard(&self, reply: &Reply);

    /// Can others be had at once, while those of the last try are used up?
    fn others(&self) -> bool;
}

/// A request, with what is done about errors and for whom it is.
#[derive(Debug, Clone, Copy)]
pub struct SendRequest<'a> {
    /// What is sent.
    pub request: &'a PreparedRequest,
    /// What is done about errors.
    pub errors: &'a ErrorPlan,
    /// Is the answer kept?
    pub keep: CacheMode,
    /// The stream that it is for.
    pub stream: &'a str,
    /// The partition of that stream.
    pub partition: &'a Map<String, Json>,
    /// Can another token be fetched when the vendor refuses the one that is sent?
    pub renews: bool,
    /// A file takes the body of a good answer that is large: it is as long as it is.
    pub into: Option<&'a File>,
    /// Signs each try, where credentials take turns.
    pub turns: Option<&'a dyn TokenRotation>,
}

/// What happens to a request, for logs and metrics.
#[derive(Debug)]
pub enum Event<'a> {
    /// It waits for the account's pace: for so long at least, and why.
    Waits(Duration, Why),
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
    agent: ureq::Agent,
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
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .max_redirects_will_error(false)
            .user_agent(concat!("dripfeed/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_recv_response(Some(ANSWER_WITHIN))
            .timeout_recv_body(Some(PAGE_WITHIN))
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
            .build();
        Fetcher {
            agent: ureq::Agent::new_with_config(config),
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
        let claim = match self.cache.get(ask.request, ask.keep == CacheMode::Anew, &self.stop)? {
            Found::Reply(reply) => return Ok(Outcome::Page(reply)),
            Found::Nothing(claim) => claim,
        };
        let outcome = self.send_anew(ask)?;
        if let Outcome::Page(reply) = &outcome {
            claim.keep(ask.request, reply)?;
        }
        Ok(outcome)
    }

    fn send_anew(&self, ask: &SendRequest<'_>) -> Result<Outcome> {
        let SendRequest { request, errors: plan, .. } = *ask;
        self.check_host(&request.url, &request.origin)?;
        let mut tries = 0;
        let mut waited = 0.0;
        loop {
            self.stop.check()?;
            tries += 1;
            let (reply, action, message, failure, transient) = match self.once(ask) {
                Ok(reply) => {
                    let verdict = self.judge(plan, &reply, &request.url)?;
                    self.healthy(ask, &reply, verdict.action)?;
                    match verdict.action {
                        Action::Success => {
                            if reply.status >= 400 {
                                // Taken for a success, an error has no records all the same.
                                return Ok(Outcome::Ignored);
                            }
                            self.reached.store(true, Ordering::Relaxed);
                            return Ok(Outcome::Page(reply));
                        }
                        Action::Ignore => {
                            (self.listener)(ask, &Event::Ignored { status: reply.status, reason: &verdict.message });
                            // An ignored answer that is fine in itself is read and paged as usual.
                            return Ok(if reply.status < 400 { Outcome::Page(reply) } else { Outcome::Ignored });
                        }
                        Action::Instead(remedy) => {
                            let reason = &verdict.message;
                            (self.listener)(ask, &Event::Otherwise { status: reply.status, remedy, reason });
                            return Ok(Outcome::Recover(remedy, verdict.message));
                        }
                        Action::Fail => {
                            let fault = self.refused(&reply, request, &verdict);
                            let renew = ask.renews && reply.status == 401;
                            return if renew { Ok(Outcome::Unauthorized(fault)) } else { Err(fault) };
                        }
                        Action::RefreshToken if ask.renews => {
                            return Ok(Outcome::Unauthorized(self.refused(&reply, request, &verdict)));
                        }
                        action => {
                            let transient = reply.status == 408 || reply.status == 429 || reply.status >= 500;
                            (Some(reply), action, verdict.message, verdict.failure, transient)
                        }
                    }
                }
                Err(Trouble::Final(fault)) => return Err(fault),
                Err(Trouble::Passing(kind, message)) => {
                    self.dead(self.breaker.failed(ask.stream, kind != Kind::Unavailable))?;
                    (None, Action::Retry, message, Failure::System, kind == Kind::Unavailable)
                }
            };
            // A manifest that says RETRY of a 429 means the same.
            let refused = reply.as_ref().is_some_and(|r| r.status == 429);
            let limited = action == Action::RateLimited || refused;
            // Who has credentials with calls left need not wait for those of the others.
            let others = limited && ask.turns.is_some_and(TokenRotation::others);
            let (seconds, most) = if others {
                (OTHERS_AFTER, MAX_SECONDS)
            } else {
                self.wait(plan, reply.as_ref(), tries, limited).inspect_err(|_| self.limited(request, limited, 1.0))?
            };
            // The account learns of it, whatever becomes of this request.
            let tell = || self.limited(request, limited && !others, seconds);
            if tries > plan.max_retries || waited > MAX_SECONDS || !self.breaker.may_retry(limited) {
                tell();
                let kind = if transient || limited { Kind::Unavailable } else { Kind::Data };
                let told = reply
                    .as_ref()
                    .and_then(retry::vendor_error)
                    .map(|t| format!(" (the vendor says: {t})"))
                    .unwrap_or_default();
                let fault = Fault::new(kind, format!("{message}{told}, after {tries} tries of {}", shown(request)))
                    .of_rule(reply.as_ref().map_or("", |reply| rule_of(reply.status)));
                let fault = if refused {
                    fault.airbyte_message("API rate limit exceeded.", Failure::Transient)
                } else {
                    let last = format!("Please see logs for more details. Exception: {message}");
                    fault.airbyte_message(format!("Exhausted available request attempts. {last}"), failure)
                };
                return Err(if limited {
                    fault.hint("the vendor's rate limit is used up: run less often, or set dripfeed.pace.limits")
                } else {
                    fault
                });
            }
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            if limited {
                // All calls of the account wait for it.
                self.pace.bears(wait, if seconds > most { Waits::ForVendor } else { Waits::ForPace }).inspect_err(
                    |fault| {
                        tell();
                        self.stop.ask(fault.kind);
                    },
                )?;
            } else if seconds > most {
                let text = format!("the vendor asks to wait {seconds:.0} s before the next request");
                return Err(Fault::new(Kind::Unavailable, text).hint("run again later; what was finished is saved"));
            } else {
                self.pace.bears(wait, Waits::ToTryAgain)?;
            }
            waited += seconds;
            (self.listener)(ask, &Event::Retrying { reason: &message, tries, wait, limited });
            tell();
            self.stop.sleep(wait)?;
        }
    }

    /// Tells the account's pace of a limit, if it was one.
    fn limited(&self, request: &PreparedRequest, limited: bool, seconds: f64) {
        if limited {
            self.pace.limited(&request.call(), Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        }
    }

    /// Judges an answer. Beyond the reference: where the manifest says nothing of it, a 403 with evidence of a limit and
    /// a GraphQL answer that was throttled are limits, and tried again.
    fn judge(&self, plan: &ErrorPlan, reply: &Reply, url: &str) -> Result<Verdict> {
        let verdict = plan.judge(reply, url, &self.cx)?;
        if !verdict.by_default {
            return Ok(verdict);
        }
        let limit = match reply.status {
            403 => feedback::forbidden_is_limit(&reply.headers, &self.feedback(reply)),
            200 | 400 => {
                feedback::may_be_throttled(&reply.body)
                    && scan::json(&reply.body).is_ok_and(|body| feedback::throttled(&body))
            }
            _ => false,
        };
        let message = || format!("HTTP Status Code: {}. Error: the vendor limits its rate.", reply.status);
        Ok(if limit {
            Verdict { action: Action::RateLimited, message: message(), failure: Failure::Transient, by_default: true }
        } else {
            verdict
        })
    }

    /// What an answer says of the vendor's limits.
    fn feedback(&self, reply: &Reply) -> Feedback {
        self.pace.feedback(reply.status, &reply.headers, self.cx.moment())
    }

    /// An answer came: does the vendor work? What the manifest expects is no failure.
    fn healthy(&self, ask: &SendRequest<'_>, reply: &Reply, action: Action) -> Result<()> {
        let expected = matches!(action, Action::Success | Action::Ignore | Action::Instead(_));
        if reply.status < 500 || expected {
            self.breaker.worked();
            return Ok(());
        }
        self.dead(self.breaker.failed(ask.stream, true))
    }

    /// A dead vendor ends the run.
    fn dead(&self, alive: Result<()>) -> Result<()> {
        alive.inspect_err(|fault| self.stop.ask(fault.kind))
    }

    /// Seconds before the next try, and how long is still worth it. What manifest or server name is a floor with a tenth of
    /// jitter on top; else exponential from one second, with jitter.
    fn wait(&self, plan: &ErrorPlan, reply: Option<&Reply>, tries: u32, limited: bool) -> Result<(f64, f64)> {
        let answer = reply.filter(|r| limited || r.status == 503);
        let retry_after = answer.and_then(|r| feedback::retry_after(&r.headers, self.cx.moment()));
        let by_server = retry_after.or_else(|| self.feedback(answer.filter(|_| limited)?).wait);
        let by_manifest = plan.wait(reply, tries, &self.cx)?.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let named = match (by_manifest, retry_after) {
            // Never earlier than the server said.
            (Some(seconds), Some(least)) if least.as_secs_f64() > seconds => Some((least.as_secs_f64(), MAX_SECONDS)),
            (Some(seconds), _) => Some((seconds, MAX_PLANNED_SECONDS)),
            // At once is not meant: all tries would be gone in a moment.
            (None, _) => by_server.map(|wait| (wait.as_secs_f64().max(LEAST_NAMED), MAX_SECONDS)),
        };
        if let Some((seconds, most)) = named {
            return Ok((seconds * (1.0 + 0.1 * random()), most * 1.1));
        }
        // A limit is somebody's who counts: coming back soon is not worth the try.
        let least = if limited { 0.5 } else { 0.1 };
        let times = i32::try_from(tries - 1).unwrap_or(10).min(10);
        Ok((2f64.powi(times).min(MAX_UNNAMED) * (least + (1.0 - least) * random()), MAX_SECONDS))
    }

    /// Sends a request for a token. While the server is busy it is tried again, for five minutes at most; the account's
    /// pace is for the API's own calls. What is `settled` is an answer.
    pub fn token(&self, ask: &SendRequest<'_>, settled: &[u16]) -> Result<Reply> {
        let request = ask.request;
        let (mut tries, mut waited) = (0, 0.0);
        loop {
            self.stop.check()?;
            tries += 1;
            let (reason, reply) = match self.exchange(ask) {
                Ok(reply) if !settled.contains(&reply.status) && (reply.status == 429 || reply.status >= 500) => {
                    (format!("the token endpoint answered HTTP {}", reply.status), Some(reply))
                }
                Ok(reply) => return Ok(reply),
                Err(Trouble::Final(fault)) => return Err(fault),
                Err(Trouble::Passing(_, message)) => (format!("the token endpoint cannot be reached: {message}"), None),
            };
            let limited = reply.as_ref().is_some_and(|r| r.status == 429);
            let (seconds, _) = self.wait(ask.errors, reply.as_ref(), tries, limited)?;
            if waited + seconds > TOKEN_SECONDS {
                return Err(Fault::new(Kind::Unavailable, format!("{reason} ({}, {tries} tries)", shown(request))));
            }
            waited += seconds;
            let wait = Duration::from_secs_f64(seconds);
            (self.listener)(ask, &Event::Retrying { reason: &reason, tries, wait, limited: false });
            self.stop.sleep(wait)?;
        }
    }

    /// The fault for an answer that ends the stream.
    fn refused(&self, reply: &Reply, request: &PreparedRequest, verdict: &Verdict) -> Fault {
        let told = retry::vendor_error(reply).map(|t| format!(" The vendor says: {t}")).unwrap_or_default();
        let text = format!("{}{told} ({})", verdict.message, shown(request));
        let fault = match reply.status {
            401 => Fault::new(Kind::Auth, text).hint("check the credentials in the config"),
            403 if !self.reached.load(Ordering::Relaxed) => Fault::new(Kind::Auth, text)
                .of_rule("scope_lost")
                .hint("check the credentials in the config, and what they may read"),
            403 => Fault::data(text)
                .of_rule("scope_lost")
                .hint("the credentials work elsewhere: check that they may read this stream"),
            status => Fault::data(text).of_rule(rule_of(status)),
        };
        fault.airbyte_message(verdict.message.clone(), verdict.failure)
    }

    /// One try.
    fn once(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let Some(turns) = ask.turns else { return self.followed(ask) };
        let signed = turns.sign(ask.request).map_err(Trouble::Final)?;
        let reply = self.followed(&SendRequest { request: &signed, ..*ask })?;
        turns.heard(&reply);
        Ok(reply)
    }

    /// One exchange, redirects on the same origin included.
    fn followed(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let mut next = ask.request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.paced(&SendRequest { request: &next, ..*ask })?;
            let location = reply.header("location").filter(|_| matches!(reply.status, 301 | 302 | 303 | 307 | 308));
            let Some(location) = location else { return Ok(reply) };
            next.url = redirected(&next.url, location);
            // As browsers and `requests` do: what was a POST goes on as a GET without a body.
            if reply.status == 303 || matches!(reply.status, 301 | 302) && next.method == "POST" {
                next.method = "GET".into();
                next.body = None;
            }
            if next.free {
                continue;
            }
            // A file may stand at another host, which gets nothing but the vendor's own words.
            let elsewhere = ask.into.is_some() && next.method == "GET" && origin_of(&next.url).is_some();
            if elsewhere && self.check_host(&next.url, &next.origin).is_err() {
                next.headers.clear();
                next.body = None;
                next.free = true;
                continue;
            }
            self.check_host(&next.url, &next.origin).map_err(|f| {
                Trouble::Final(Fault { message: format!("a redirect was not followed: {}", f.message), ..f })
            })?;
        }
        Err(Trouble::Final(Fault::data(format!(
            "more than {MAX_REDIRECTS} redirects in a row: {}",
            shown(ask.request)
        ))))
    }

    /// Refuses an address at which the credentials have no business.
    fn check_host(&self, url: &str, origin: &str) -> Result<()> {
        let Some(target) = origin_of(url) else {
            return Err(Fault::data("the address of the next request is not a URL"));
        };
        let host = target.split_once("://").map_or("", |(_, h)| h);
        if target == origin || self.limits.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Fault::data(format!(
            "an address at {target} is not the manifest's own ({origin}): the credentials would go to another host"
        ))
        .hint(format!("if this is right, add \"{host}\" to dripfeed.allowed_hosts in the config")))
    }

    /// One request and its answer, when the account's pace has room for it.
    fn paced(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let waits = |wait, why| (self.listener)(ask, &Event::Waits(wait, why));
        let (_pass, permit) = loop {
            let pass = self.breaker.enter(&self.stop).map_err(Trouble::Final)?;
            let permit = self.pace.acquire(&ask.request.call(), &self.stop, waits).map_err(Trouble::Final)?;
            if !permit.waited.is_zero() {
                (self.listener)(ask, &Event::Waited(permit.waited));
            }
            // While it waited the vendor may have gone down: leave to send is not kept for later.
            if pass.holds() {
                break (pass, permit);
            }
        };
        (self.listener)(ask, &Event::Sent);
        let reply = self.exchange(ask)?;
        if self.pace.counts_points()
            && let Ok(body) = scan::json(&reply.body)
        {
            permit.cost(feedback::cost(&body, &reply.headers));
        }
        // What is left is said of the token that was sent: others of the account may have more.
        let feedback = if ask.turns.is_some() { Feedback::default() } else { self.feedback(&reply) };
        permit.answered(reply.status < 400, feedback);
        Ok(reply)
    }

    /// One request and its answer.
    fn exchange(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let request = ask.request;
        let started = std::time::Instant::now();
        let mut builder = Request::builder().method(request.method.as_str()).uri(&request.url);
        for (name, value) in &request.headers {
            if !value.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\t') {
                let fault = Fault::data(format!(
                    "the header `{name}` has characters that no header can hold ({})",
                    shown(request)
                ));
                return Err(Trouble::Final(
                    fault.hint("check the value in the config: a line break or an accent may have slipped in"),
                ));
            }
            builder = builder.header(name, value);
        }
        if let Some(content_type) = request.body.as_ref().and_then(|b| b.content_type)
            && !request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type"))
        {
            builder = builder.header("Content-Type", content_type);
        }
        let bad = |e: &dyn std::fmt::Display| {
            Trouble::Final(Fault::data(format!("the request cannot be sent: {e} ({})", shown(request))))
        };
        let connect = Some(request.connect_within.unwrap_or(CONNECT_WITHIN));
        let answer = Some(request.answer_within.unwrap_or(ANSWER_WITHIN));
        let whole = Some(if ask.into.is_some() { FILE_WITHIN } else { PAGE_WITHIN });
        let sent = match &request.body {
            Some(body) => {
                if request.method == "GET" {
                    // A GET may carry a body (search APIs), which ureq sends only when told to.
                    let built = builder.body(()).map_err(|e| bad(&e))?;
                    let mut get = self.agent.get(&request.url);
                    if let Some(headers) = get.headers_mut() {
                        *headers = built.headers().clone();
                    }
                    let get = get
                        .config()
                        .timeout_connect(connect)
                        .timeout_recv_response(answer)
                        .timeout_recv_body(whole)
                        .build();
                    get.force_send_body().send(body.bytes.as_slice())
                } else {
                    let request = builder.body(body.bytes.as_slice()).map_err(|e| bad(&e))?;
                    let config = self.agent.configure_request(request);
                    self.agent.run(
                        config.timeout_connect(connect).timeout_recv_response(answer).timeout_recv_body(whole).build(),
                    )
                }
            }
            // All but these tell that they carry nothing.
            None if !matches!(&*request.method, "GET" | "HEAD") => {
                let request = builder.body(&[][..]).map_err(|e| bad(&e))?;
                let config = self.agent.configure_request(request);
                self.agent
                    .run(config.timeout_connect(connect).timeout_recv_response(answer).timeout_recv_body(whole).build())
            }
            None => {
                let config = self.agent.configure_request(builder.body(()).map_err(|e| bad(&e))?);
                self.agent
                    .run(config.timeout_connect(connect).timeout_recv_response(answer).timeout_recv_body(whole).build())
            }
        };
        let mut response = sent.map_err(|e| trouble(&e, request))?;
        // What is small, or an error, is looked at like any page.
        let file = ask.into.filter(|_| response.status().is_success());
        let most = self.limits.max_page_bytes;
        let limit = if file.is_some() { most.min(MOST_RESERVED) } else { most };
        let length = response.headers().get("content-length").and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        let compressed = response.headers().contains_key("content-encoding");
        // One byte more than is expected, so that the end is seen without growing.
        let expected = length.filter(|_| !compressed).map_or(0, |l| l.min(limit).min(MOST_RESERVED) + 1);
        let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let read = reader.by_ref().take(limit + 1).read_to_end(&mut body);
        read.map_err(|e| broke_off(&e))?;
        let mut filed = None;
        if let Some(file) = file.filter(|_| body.len() as u64 > limit) {
            filed = Some(self.file_away(std::mem::take(&mut body), &mut reader, file)?);
        } else if body.len() as u64 > limit {
            return Err(Trouble::Final(
                Fault::data(format!("the page is larger than {limit} bytes ({})", shown(request)))
                    .hint("ask for smaller pages, or raise dripfeed.max_page_bytes"),
            ));
        }
        // A byte order mark is no part of the JSON.
        if ask.into.is_none() && body.starts_with(b"\xef\xbb\xbf") {
            body.drain(..3);
        }
        let (status, headers, took) = (response.status().as_u16(), response.headers().clone(), started.elapsed());
        let bytes = filed.and_then(|size| usize::try_from(size).ok()).unwrap_or(body.len());
        (self.listener)(ask, &Event::Answered { status, took, bytes });
        Ok(Reply { status, headers, body, took, url: request.url.clone(), embedded: false, filed })
    }

    /// Writes what was read and the rest of an answer into a file, from its start; gives its size.
    fn file_away(&self, read: Vec<u8>, rest: &mut impl Read, mut file: &File) -> std::result::Result<u64, Trouble> {
        let failed = |e: std::io::Error| Trouble::Final(Fault::local("cannot write a file of a record", &e));
        file.rewind().and_then(|()| file.set_len(0)).map_err(failed)?;
        let (mut piece, mut end, mut size) = (read, false, 0);
        while !end {
            self.stop.check().map_err(Trouble::Final)?;
            file.write_all(&piece).map_err(failed)?;
            size += piece.len() as u64;
            piece.resize(PIECE, 0);
            let read = loop {
                match rest.read(&mut piece) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    other => break other.map_err(|e| broke_off(&e))?,
                }
            };
            piece.truncate(read);
            end = read == 0;
        }
        Ok(size)
    }
}

/// Where a redirect from `url` leads: relative to its folder, or from the root of its host.
fn redirected(url: &str, location: &str) -> String {
    let head = url.split(['?', '#']).next().unwrap_or(url);
    let start = head.find("://").map_or(0, |i| i + 3);
    let folder = head[start..].rfind('/').map_or_else(|| format!("{head}/"), |i| head[..=start + i].to_owned());
    join(&folder, location)
}

/// Why an exchange gave no answer.
enum Trouble {
    /// It may work next time; if it never does, this kind of fault remains.
    Passing(Kind, String),
    /// It will not.
    Final(Fault),
}

fn broke_off(error: &std::io::Error) -> Trouble {
    Trouble::Passing(Kind::Data, format!("the answer broke off: {error}"))
}

fn trouble(error: &ureq::Error, request: &PreparedRequest) -> Trouble {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Trouble::Final(Fault::data(format!("the request cannot be sent: {error} ({})", shown(request))))
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => Trouble::Final(
            Fault::new(Kind::Unavailable, format!("TLS with the vendor failed: {error} ({})", shown(request)))
                .hint("a company's own CA can be given by SSL_CERT_FILE"),
        ),
        // A certificate is not another one the next time.
        ureq::Error::Io(e) if e.to_string().contains("certificate") => Trouble::Final(
            Fault::new(Kind::Unavailable, format!("TLS with the vendor failed: {e} ({})", shown(request)))
                .hint("a company's own CA can be given by SSL_CERT_FILE"),
        ),
        other => Trouble::Passing(Kind::Unavailable, other.to_string()),
    }
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

/// The kind of drift that a status may be.
fn rule_of(status: u16) -> &'static str {
    match status {
        301 | 308 | 404 | 410 => "endpoint_gone",
        _ => "",
    }
}

/// A number from 0 to 1, for jitter.
fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now()) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}
