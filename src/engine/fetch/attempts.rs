//! The attempts of one request: what is retried, after how long, and when it is given up.
//!
//! Input: a [`SendRequest`]. Output: an [`Outcome`], or the fault of the last attempt. Called by [`Fetcher::send`]
//! for the vendor's API, and by the requester for token endpoints. Each attempt waits for the account's pace and for
//! the circuit breaker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::body_error::{self, BodyError};
use super::request::PreparedRequest;
use super::retry::{self, Action, ErrorPlan, Verdict};
use super::transport::Trouble;
use super::{
    Event, Fetcher, LiveCredentials, NO_PERMISSION, Outcome, Reply, SendRequest, random, shown, shown_with_query,
    vendor_error,
};
use crate::base::config::secret::SharedSecrets;
use crate::base::display::number_of;
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::json::scan;
use crate::pace::feedback::{self, Feedback};
use crate::pace::{self, Waits};

/// The time after which the reference gives up on a request, in seconds.
const MAX_SECONDS: f64 = pace::PATIENCE.as_secs_f64();
/// The shortest wait requested by a server, in seconds.
const MIN_NAMED: f64 = 1.0;
/// The longest wait before a retry without a requested wait, in seconds.
const MAX_UNNAMED: f64 = 60.0;
/// Seconds before the second try of an unknown host, where a user waits.
const UNKNOWN_HOST_AFTER: f64 = 1.0;
/// The wait for a rate limit sent as a 403 without a time (GitHub: "wait for at least one minute").
const UNNAMED_403: Duration = Duration::from_secs(60);
/// The longest wait from the manifest's own strategy, in seconds.
const MAX_PLANNED_SECONDS: f64 = 3600.0;
/// The longest total wait for a busy token endpoint, in seconds.
const TOKEN_SECONDS: f64 = 300.0;
/// The delay before an attempt with other credentials, in seconds.
const OTHERS_AFTER: f64 = 0.1;

/// The result of one attempt.
enum Attempt {
    /// The request is done.
    Done(Outcome),
    /// The vendor rejected the credentials, and there are others: retry at once; this does not count as an attempt.
    Renewed,
    /// The attempt failed and may be retried.
    Failed(FailedAttempt),
}

/// A failed attempt that may be retried.
struct FailedAttempt {
    /// The response, if one arrived.
    reply: Option<Reply>,
    /// The message for the user.
    message: String,
    /// The failure type, in Airbyte's terms.
    failure: Failure,
    /// Is the failure transient, so that a later run may succeed?
    transient: bool,
    /// Was it rate-limited?
    limited: bool,
    /// See [`Verdict::retries`].
    retries: Option<u32>,
    /// Has the host no address?
    unknown_host: bool,
}

impl FailedAttempt {
    /// A transient failure without a usable response; a later run may succeed.
    fn passing(message: String, reply: Option<Reply>) -> FailedAttempt {
        let (failure, transient, limited) = (Failure::System, true, false);
        FailedAttempt { reply, message, failure, transient, limited, retries: None, unknown_host: false }
    }
}

impl Fetcher {
    /// Sends a request until its error handler accepts the result, without cached responses.
    pub(super) fn send_anew(&self, ask: &SendRequest<'_>) -> Result<Outcome> {
        let SendRequest { request, errors: plan, .. } = *ask;
        self.check_host(&request.url, &request.origin)?;
        let mut tries = ask.broken.map_or(0, |broken| broken.tries);
        let mut broken = ask.broken.map(|broken| FailedAttempt::passing(broken.reason.clone(), None));
        let mut waited = 0.0;
        let mut renewed = false;
        let mut rarely = 0;
        loop {
            self.stop.check()?;
            let failed = if let Some(broken) = broken.take() {
                broken
            } else {
                tries += 1;
                match self.attempt(ask, renewed)? {
                    Attempt::Done(outcome) => return Ok(outcome),
                    Attempt::Renewed => {
                        (renewed, tries) = (true, tries - 1);
                        continue;
                    }
                    Attempt::Failed(failed) => failed,
                }
            };
            // A vendor that processed the request has accepted the token: the token may expire again.
            renewed &= failed.reply.as_ref().is_none_or(|reply| reply.status == 401 || reply.status >= 500);
            rarely += u32::from(failed.retries.is_some());
            let limited = failed.limited;
            // If other credentials have quota left, there is no need to wait for these.
            let others = limited && ask.credentials.is_some_and(LiveCredentials::others);
            let (seconds, most) = if others {
                (OTHERS_AFTER, MAX_SECONDS)
            } else if failed.retries.is_some() && failed.unknown_host {
                (UNKNOWN_HOST_AFTER, MAX_SECONDS)
            } else {
                let wait = self.wait(plan, failed.reply.as_ref(), tries, limited);
                wait.inspect_err(|_| self.limited(request, limited, 1.0))?
            };
            // The account's pace is informed, whatever happens to this request.
            let tell = || self.limited(request, limited && !others, seconds);
            let enough = tries > plan.max_retries || failed.retries.is_some_and(|most| rarely > most);
            if enough || waited > MAX_SECONDS || !self.breaker.may_retry(limited) {
                tell();
                return Err(failed.exhausted(tries, request, &self.limits.secrets));
            }
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            if limited {
                // The wait applies to all calls of the account.
                let what = if seconds > most { Waits::ForVendor } else { Waits::ForPace };
                self.pace.bears(wait, what).inspect_err(|fault| {
                    tell();
                    self.stop.ask(fault.kind);
                })?;
            } else if seconds > most {
                let text = format!("the vendor requests a wait of {seconds:.0} s before the next request");
                return Err(Fault::new(Kind::Unavailable, text).hint("run again later; finished work is saved"));
            } else {
                self.pace.bears(wait, Waits::ToTryAgain)?;
            }
            waited += seconds;
            (self.listener)(ask, &Event::Retrying { reason: &failed.message, tries, wait, limited });
            tell();
            self.stop.sleep(wait)?;
        }
    }

    /// Makes one attempt and evaluates it; `renewed` states whether credentials were renewed for it.
    fn attempt(&self, ask: &SendRequest<'_>, renewed: bool) -> Result<Attempt> {
        match self.once(ask) {
            Ok(reply) => self.judged(ask, reply, renewed),
            Err(Trouble::Final(fault)) => Err(fault),
            Err(Trouble::Passing { message, reached, unknown_host, too_slow }) => {
                self.dead(self.breaker.failed(ask.stream, reached))?;
                let retries = (unknown_host && self.limits.is_awaited || too_slow).then_some(1);
                Ok(Attempt::Failed(FailedAttempt { retries, unknown_host, ..FailedAttempt::passing(message, None) }))
            }
        }
    }

    /// Evaluates a response.
    fn judged(&self, ask: &SendRequest<'_>, reply: Reply, renewed: bool) -> Result<Attempt> {
        let mut reply = reply;
        let renew = || ask.credentials.filter(|_| !renewed).map_or(Ok(false), LiveCredentials::renew);
        // A token may expire early: this says nothing about the request, whatever the manifest defines for a 401.
        if reply.status == 401 && renew()? {
            self.breaker.worked();
            return Ok(Attempt::Renewed);
        }
        let (verdict, error) = self.judge(ask, &reply)?;
        if let (Action::Success, true, Some(holds)) = (verdict.action, verdict.by_default, ask.holds) {
            reply.error = error.as_ref().map(|error| error.text.clone());
            if let Some(error) = error.filter(|_| !holds(&reply.body)) {
                if error.is_of_schema {
                    return Err(Fault::data(format!(
                        "the vendor does not know a field of the query: {} ({})",
                        error.text,
                        shown(ask.request)
                    ))
                    .of_rule("envelope_changed")
                    .hint("the vendor may have changed its schema: correct the query in the manifest"));
                }
                return Ok(Attempt::Failed(FailedAttempt {
                    message: format!("HTTP {}, but the response reports an error instead of records", reply.status),
                    failure: Failure::System,
                    transient: false,
                    limited: false,
                    retries: None,
                    unknown_host: false,
                    reply: Some(reply),
                }));
            }
        }
        if verdict.action == Action::Success
            && ask.json
            && let Some(error) = body_error::broken_json(&reply.body)
        {
            return Ok(Attempt::Failed(FailedAttempt::passing(error, Some(reply))));
        }
        self.healthy(ask, &reply, verdict.action)?;
        let status = reply.status;
        Ok(Attempt::Done(match verdict.action {
            // Even if treated as success, an error has no records.
            Action::Success if status >= 400 => Outcome::Ignored(status),
            Action::Success => {
                self.reached.store(true, Ordering::Relaxed);
                Outcome::Page(reply)
            }
            Action::Ignore => {
                (self.listener)(ask, &Event::Ignored { status, reason: &verdict.message });
                // An ignored response with a good status is read and paged as usual.
                if status < 400 { Outcome::Page(reply) } else { Outcome::Ignored(status) }
            }
            Action::Instead(remedy) => {
                (self.listener)(ask, &Event::Otherwise { status, remedy, reason: &verdict.message });
                Outcome::Recover(remedy, verdict.message)
            }
            Action::Fail => return Err(self.refused(&reply, ask.request, &verdict)),
            Action::RefreshToken if renewed => return Err(self.refused(&reply, ask.request, &verdict)),
            Action::RefreshToken if renew()? => return Ok(Attempt::Renewed),
            action => {
                return Ok(Attempt::Failed(FailedAttempt {
                    message: verdict.message,
                    failure: verdict.failure,
                    transient: matches!(status, 408 | 425 | 429) || status >= 500,
                    // A manifest with RETRY for a 429 means the same.
                    limited: action == Action::RateLimited || status == 429,
                    retries: verdict.retries,
                    unknown_host: false,
                    reply: Some(reply),
                }));
            }
        }))
    }

    /// A vendor's text without secrets: vendors repeat what they were sent.
    fn quoted(&self, text: &str) -> String {
        self.limits.secrets.lock().hide_in_quote(text)
    }

    /// Informs the account's pace of a rate limit, if there was one.
    fn limited(&self, request: &PreparedRequest, limited: bool, seconds: f64) {
        if limited {
            self.pace.limited(&request.call(), Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        }
    }

    /// Evaluates a response, and returns the error in its body. Beyond the reference: if the manifest ignores the
    /// response or has no rule for it, a response with evidence of a rate limit is treated as one, and retried.
    fn judge(&self, ask: &SendRequest<'_>, reply: &Reply) -> Result<(Verdict, Option<BodyError>)> {
        let mut verdict = ask.errors.judge(reply, &ask.request.url, &self.cx)?;
        // It may quote the vendor.
        if !verdict.message.is_empty() {
            verdict.message = self.quoted(&verdict.message);
        }
        if !verdict.by_default && verdict.action != Action::Ignore {
            return Ok((verdict, None));
        }
        let error = body_error::of(&reply.body).map(|error| BodyError { text: self.quoted(&error.text), ..error });
        if !self.is_limit(ask, reply, error.as_ref()) {
            return Ok((verdict, error));
        }
        let limit = Verdict {
            action: Action::RateLimited,
            message: format!("HTTP Status Code: {}. Error: the vendor limits its rate.", reply.status),
            failure: Failure::Transient,
            by_default: true,
            retries: None,
        };
        Ok((limit, error))
    }

    /// Is it a 429, a 403 or 400 whose headers, codes or words indicate a rate limit, or a 200 whose errors do? If
    /// there are records too, only a code counts.
    fn is_limit(&self, ask: &SendRequest<'_>, reply: &Reply, error: Option<&BodyError>) -> bool {
        let throttled = || error.is_some_and(|error| feedback::throttled(&error.fields));
        let words = || feedback::words_of_limit(&retry::refusal_text(reply));
        match reply.status {
            429 => true,
            403 => feedback::forbidden_is_limit(&reply.headers, &self.feedback(reply)) || words(),
            400 => throttled() || words(),
            200 => error.is_some_and(|error| {
                let stands_alone = || ask.holds.is_some_and(|holds| !holds(&reply.body));
                let speaks = || {
                    feedback::wait_in_body(&error.fields).is_some()
                        || feedback::words_of_limit(&retry::error_text(&error.fields, b""))
                };
                throttled() || stands_alone() && speaks()
            }),
            _ => false,
        }
    }

    /// The rate-limit information in a response.
    fn feedback(&self, reply: &Reply) -> Feedback {
        self.pace.feedback(reply.status, &reply.headers, self.cx.moment())
    }

    /// Updates the breaker from a response. Statuses that the manifest expects are not failures.
    fn healthy(&self, ask: &SendRequest<'_>, reply: &Reply, action: Action) -> Result<()> {
        let expected = matches!(action, Action::Success | Action::Ignore | Action::Instead(_));
        if reply.status < 500 || expected {
            self.breaker.worked();
            return Ok(());
        }
        self.dead(self.breaker.failed(ask.stream, true))
    }

    /// A vendor that is down ends the run.
    fn dead(&self, alive: Result<()>) -> Result<()> {
        alive.inspect_err(|fault| self.stop.ask(fault.kind))
    }

    /// Seconds before the next attempt, and the longest acceptable wait. A wait requested by manifest or server is a
    /// minimum, plus up to a tenth as jitter; otherwise the wait is exponential from one second, with jitter.
    fn wait(&self, plan: &ErrorPlan, reply: Option<&Reply>, tries: u32, limited: bool) -> Result<(f64, f64)> {
        let answer = reply.filter(|r| limited || r.status == 503);
        let retry_after = answer.and_then(|r| feedback::retry_after(&r.headers, self.cx.moment()));
        let by_server = retry_after.or_else(|| {
            let reply = answer.filter(|_| limited)?;
            let in_body = || feedback::wait_in_body(&scan::json(&reply.body).ok()?);
            let unnamed = || (reply.status == 403).then_some(UNNAMED_403);
            self.feedback(reply).wait.or_else(in_body).or_else(unnamed)
        });
        let by_manifest = plan.wait(reply, tries, &self.cx)?.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let named = match (by_manifest, retry_after) {
            // Never earlier than the server requested.
            (Some(seconds), Some(least)) if least.as_secs_f64() > seconds => Some((least.as_secs_f64(), MAX_SECONDS)),
            (Some(seconds), _) => Some((seconds, MAX_PLANNED_SECONDS)),
            // A wait of zero is not taken literally: all attempts would be used up at once.
            (None, _) => by_server.map(|wait| (wait.as_secs_f64().max(MIN_NAMED), MAX_SECONDS)),
        };
        if let Some((seconds, most)) = named {
            return Ok((seconds * (1.0 + 0.1 * random()), most * 1.1));
        }
        // Rate limits are counted by the vendor: an early retry has no chance.
        let least = if limited { 0.5 } else { 0.1 };
        let times = i32::try_from(tries - 1).unwrap_or(10).min(10);
        Ok((2f64.powi(times).min(MAX_UNNAMED) * (least + (1.0 - least) * random()), MAX_SECONDS))
    }

    /// Sends a token request. While the server is busy, the request is built again by `anew` and retried, for at most
    /// five minutes. It does not wait for the account's pace, which covers only the API's own calls. A `settled`
    /// status is a final response.
    pub fn token(
        &self,
        ask: &SendRequest<'_>,
        settled: &[u16],
        anew: &dyn Fn() -> Result<PreparedRequest>,
    ) -> Result<Reply> {
        let (mut tries, mut waited) = (0, 0.0);
        let mut request = ask.request.clone();
        loop {
            self.stop.check()?;
            tries += 1;
            let ask = SendRequest { request: &request, ..*ask };
            let mut is_unknown = false;
            let (reason, reply) = match self.exchange(&ask) {
                Ok(reply) if !settled.contains(&reply.status) && (reply.status == 429 || reply.status >= 500) => {
                    (format!("the token endpoint responded with HTTP {}", reply.status), Some(reply))
                }
                Ok(reply) => match body_error::broken_json(&reply.body).filter(|_| reply.status < 400) {
                    Some(error) => (format!("the token endpoint: {error}"), None),
                    None => return Ok(reply),
                },
                Err(Trouble::Final(fault)) => return Err(fault),
                Err(Trouble::Passing { message, unknown_host, .. }) => {
                    is_unknown = unknown_host && self.limits.is_awaited;
                    (format!("the token endpoint cannot be reached: {message}"), None)
                }
            };
            let limited = reply.as_ref().is_some_and(|r| r.status == 429);
            let (mut seconds, _) = self.wait(ask.errors, reply.as_ref(), tries, limited)?;
            if is_unknown {
                seconds = UNKNOWN_HOST_AFTER;
            }
            if waited + seconds > TOKEN_SECONDS || is_unknown && tries > 1 {
                let attempts = number_of(tries.into(), "attempt");
                return Err(Fault::new(Kind::Unavailable, format!("{reason} ({}, {attempts})", shown(&request))));
            }
            waited += seconds;
            let wait = Duration::from_secs_f64(seconds);
            (self.listener)(&ask, &Event::Retrying { reason: &reason, tries, wait, limited: false });
            self.stop.sleep(wait)?;
            request = anew()?;
        }
    }

    /// The fault for a response that ends the stream.
    fn refused(&self, reply: &Reply, request: &PreparedRequest, verdict: &Verdict) -> Fault {
        let quoted =
            vendor_error::of(reply, |t| self.quoted(t)).map(|t| format!(" The vendor says: {t}")).unwrap_or_default();
        let text = format!("{}{quoted} ({})", verdict.message, shown_with_query(request));
        let fault = match reply.status {
            401 => Fault::new(Kind::Auth, text).hint("check the credentials in the config"),
            403 if !self.reached.load(Ordering::Relaxed) => Fault::new(Kind::Auth, text)
                .of_rule("scope_lost")
                .hint("check the credentials in the config, and their permissions"),
            403 => Fault::data(text).of_rule("scope_lost").hint(NO_PERMISSION),
            // Some vendors reject a login with another status; then the manifest states that the user must act.
            _ if verdict.failure == Failure::Config && !verdict.by_default && !self.reached.load(Ordering::Relaxed) => {
                Fault::new(Kind::Auth, text).hint("check the credentials and the other values of the config")
            }
            status => Fault::data(text).of_rule(rule_of(status)).hint(match status {
                404 | 410 => "check `url_base` and `path` in the manifest, and the values of the config in them",
                400 | 422 => "check the request's parameters in the manifest, and the values of the config in them",
                _ => "see the request and its answer with `dripfeed test --stream NAME`",
            }),
        };
        fault.of_status(reply.status).airbyte_message(verdict.message.clone(), verdict.failure)
    }

    /// One attempt.
    fn once(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let Some(credentials) = ask.credentials else { return self.followed(ask) };
        let signed = credentials.sign().map_err(Trouble::Final)?;
        let reply = self.followed(&SendRequest { request: &signed, ..*ask })?;
        credentials.answered(&reply);
        Ok(reply)
    }

    /// Sends the request, or the one that it was redirected to, when the account's pace has room; returns the
    /// response. Credentials that expired during the wait are renewed.
    pub(super) fn paced(
        &self,
        ask: &SendRequest<'_>,
        request: &mut PreparedRequest,
    ) -> std::result::Result<Reply, Trouble> {
        if !ask.paced {
            self.pace.charge(&request.call()).map_err(Trouble::Final)?;
            let ask = SendRequest { request, ..*ask };
            (self.listener)(&ask, &Event::Sent);
            return self.exchange(&ask);
        }
        let (_pass, permit) = loop {
            let waiting = SendRequest { request, ..*ask };
            let waits = |wait, why| (self.listener)(&waiting, &Event::Waits(wait, why));
            let pass = self.breaker.enter(&self.stop).map_err(Trouble::Final)?;
            let permit = self.pace.acquire(&request.call(), &self.stop, waits).map_err(Trouble::Final)?;
            if !permit.waited.is_zero() {
                (self.listener)(&waiting, &Event::Waited(permit.waited));
            }
            // The vendor may have gone down during the wait: a pass expires then.
            if pass.holds() {
                break (pass, permit);
            }
        };
        // A request that may go to any host carries no credentials.
        if let Some(credentials) = ask.credentials.filter(|_| !request.free)
            && let Some(signed) = credentials.sign_again(request).map_err(Trouble::Final)?
        {
            *request = signed;
        }
        let ask = &SendRequest { request, ..*ask };
        (self.listener)(ask, &Event::Sent);
        let reply = self.exchange(ask)?;
        if self.pace.counts_points()
            && let Ok(body) = scan::json(&reply.body)
        {
            permit.cost(feedback::cost(&body, &reply.headers));
        }
        // The remaining quota refers to this token: other tokens of the account may have more.
        let turns = ask.credentials.is_some_and(LiveCredentials::take_turns);
        let feedback = if turns { Feedback::default() } else { self.feedback(&reply) };
        permit.answered(reply.status < 400, feedback);
        Ok(reply)
    }

    /// Sends one request, and informs the listener.
    fn exchange(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let reply = self.transport.exchange(ask.request, ask.into)?;
        let bytes = reply.filed.and_then(|size| usize::try_from(size).ok()).unwrap_or(reply.body.len());
        (self.listener)(ask, &Event::Answered { reply: &reply, bytes });
        Ok(reply)
    }
}

impl FailedAttempt {
    /// The fault of a request after its last attempt.
    fn exhausted(self, tries: u32, request: &PreparedRequest, secrets: &SharedSecrets) -> Fault {
        let FailedAttempt { reply, message, failure, transient, limited, unknown_host, .. } = self;
        let reply = reply.as_ref();
        let kind = if transient || limited { Kind::Unavailable } else { Kind::Data };
        let text = reply.and_then(|reply| {
            let hide = |text: &str| secrets.lock().hide_in_quote(text);
            reply.error.clone().or_else(|| vendor_error::of(reply, hide))
        });
        let quoted = text.map(|t| format!(" (the vendor says: {t})")).unwrap_or_default();
        let attempts = number_of(tries.into(), "attempt");
        let fault = Fault::new(kind, format!("{message}{quoted}, after {attempts} of {}", shown_with_query(request)))
            .of_rule(reply.map_or("", |reply| rule_of(reply.status)));
        let fault = Fault { status: reply.map(|reply| reply.status), ..fault };
        let fault = if reply.is_some_and(|reply| reply.status == 429) {
            fault.airbyte_message("API rate limit exceeded.", Failure::Transient)
        } else {
            let last = format!("Please see logs for more details. Exception: {message}");
            fault.airbyte_message(format!("Exhausted available request attempts. {last}"), failure)
        };
        if limited {
            fault.hint("the vendor's rate limit is used up: run less often, or set dripfeed.pace.limits")
        } else if unknown_host {
            fault.hint("check the host in the config and in the manifest's `url_base`, and this machine's DNS")
        } else if kind == Kind::Unavailable && reply.is_none() {
            fault
                .hint("check whether the vendor is down, and whether this machine reaches it; the next run tries again")
        } else if kind == Kind::Unavailable {
            fault.hint("the vendor fails: look at its status page; the next run tries again")
        } else {
            fault
        }
    }
}

/// The drift rule that a status may indicate.
fn rule_of(status: u16) -> &'static str {
    match status {
        301 | 308 | 404 | 410 => "endpoint_gone",
        _ => "",
    }
}
