//! A requester with its credentials, and the services that these need from the engine.
//!
//! Input: the requester's definition; then variables and options. Output: the outcome of the request; each attempt
//! has valid credentials. Called by `slice_reader` for pages, by `async_job` for the jobs before them, and by
//! `files`.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::build::{Build, base_of};
use super::context::EngineContext;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::scan;
use crate::base::stop::Stop;
use crate::engine::auth::{self, Auth, Credentials, Rotation, TokenListener, TokenRequest, TokenTransport, Turn};
use crate::engine::fetch::address::{flaw, origin_of};
use crate::engine::fetch::request::{self, Body, PreparedRequest, RequestPlan};
use crate::engine::fetch::retry::{self, ErrorPlan};
use crate::engine::fetch::{BrokenBody, CacheMode, LiveCredentials, Outcome, Reply, SendRequest};
use crate::manifest::model::{self, HttpRequester};
use crate::manifest::template::{RequestOptions, Vars};

/// A compiled requester.
#[derive(Debug, Clone)]
pub struct RequesterPlan {
    request: RequestPlan,
    auth: Auth,
    /// How errors are handled.
    pub errors: ErrorPlan,
    /// The login request of the credentials.
    login: Option<Box<RequesterPlan>>,
}

/// The context of a request.
#[derive(Clone, Copy)]
pub(super) struct RequestContext<'a> {
    pub(super) shared: &'a EngineContext,
    pub(super) stream: &'a str,
    pub(super) partition: &'a Map<String, Json>,
    pub(super) keep: CacheMode,
    /// The file for a large response.
    pub(super) into: Option<&'a File>,
    /// See [`SendRequest::holds`].
    pub(super) holds: Option<&'a dyn Fn(&[u8]) -> bool>,
    /// See [`SendRequest::json`].
    pub(super) json: bool,
    /// See [`SendRequest::broken`].
    pub(super) broken: Option<&'a BrokenBody>,
    /// See [`SendRequest::login`].
    pub(super) login: bool,
}

impl<'a> RequestContext<'a> {
    /// The context of a request without caching, and without assumptions about its body.
    pub(super) fn new(shared: &'a EngineContext, stream: &'a str, partition: &'a Map<String, Json>) -> Self {
        RequestContext {
            shared,
            stream,
            partition,
            keep: CacheMode::No,
            into: None,
            holds: None,
            json: false,
            broken: None,
            login: false,
        }
    }
}

/// Options that are added to those of the requester.
#[derive(Debug, Clone, Default)]
pub(super) struct InjectedOptions {
    /// The fields to request.
    pub(super) names: Option<(String, Json)>,
    /// The options of the page.
    pub(super) page: RequestOptions,
    /// The options of the slice.
    pub(super) slice: RequestOptions,
    /// The path from the page token.
    pub(super) path: Option<String>,
}

/// Compiles a requester; `names` are additional template names; a `free` requester may follow the vendor's URLs to
/// other hosts.
pub(super) fn build(build: &Build<'_>, def: &HttpRequester, names: &[String], free: bool) -> Result<RequesterPlan> {
    let login = auth::login(def.authenticator.as_deref(), build.cx)?;
    let login = login.map(|login| {
        let model::Requester::HttpRequester(login) = login;
        if auth::login(login.authenticator.as_deref(), build.cx)?.is_some() {
            return Err(login.at.fault("a login cannot need another login"));
        }
        self::build(build, login, &[], false).map(Box::new)
    });
    Ok(RequesterPlan {
        request: request::build(def, names, free)?,
        auth: build.auth.build(def.authenticator.as_deref(), base_of(def), build.cx)?,
        errors: retry::build(def.error_handler.as_ref(), build.cx)?,
        login: login.transpose()?,
    })
}

impl RequesterPlan {
    /// The query parameters that the manifest names, each with its template.
    pub fn declared_parameters(&self) -> Vec<(String, String)> {
        self.request.declared_parameters()
    }

    /// The names in its list parameters.
    pub(super) fn lists(&self, vars: &Vars<'_>) -> Vec<String> {
        self.request.lists(vars)
    }

    /// Can its requests depend on that entry of their slice?
    pub(super) fn reads_of_slice(&self, entry: &str) -> bool {
        self.request.reads_of_slice(entry)
    }

    /// Uses the other requester's URL as the manifest's own, if the vendor determines this one's.
    pub(super) fn beside(mut self, other: &RequesterPlan) -> RequesterPlan {
        self.request = self.request.beside(&other.request);
        self
    }

    /// Sends a request; expiring credentials are obtained for each attempt.
    pub(super) fn ask(&self, context: RequestContext<'_>, vars: &Vars<'_>, added: &InjectedOptions) -> Result<Outcome> {
        self.send(context, vars, added, true)
    }

    /// Sends a request; it waits for the account's pace only if `paced`.
    fn send(
        &self,
        context: RequestContext<'_>,
        vars: &Vars<'_>,
        added: &InjectedOptions,
        paced: bool,
    ) -> Result<Outcome> {
        let access = Access { context, login: self.login.as_deref() };
        let live = self.auth.owner().map(|owner| Signing {
            plan: self,
            access: &access,
            vars,
            added,
            owner,
            taken: RefCell::default(),
        });
        let fixed = match live {
            None => learned(&access, self.auth.credentials(vars, &access)?.options),
            Some(_) => RequestOptions::default(),
        };
        let ask = SendRequest {
            request: &self.prepare(fixed, vars, added)?,
            errors: &self.errors,
            keep: context.keep,
            stream: context.stream,
            partition: context.partition,
            into: context.into,
            holds: context.holds,
            json: context.json,
            broken: context.broken,
            login: context.login,
            credentials: live.as_ref().map(|live| live as &dyn LiveCredentials),
            paced,
        };
        context.shared.fetcher.send(&ask)
    }

    /// A request with these credentials.
    fn prepare(
        &self,
        mut credentials: RequestOptions,
        vars: &Vars<'_>,
        added: &InjectedOptions,
    ) -> Result<PreparedRequest> {
        if let Some(names) = &added.names {
            let own = std::mem::take(&mut credentials.params);
            credentials.params = [names.clone()].into_iter().chain(own).collect();
        }
        self.request.prepare(vars, [credentials, added.page.clone(), added.slice.clone()], added.path.as_deref())
    }
}

/// The options of credentials. Whatever they write into a request is a secret: no output shows it.
fn learned(access: &Access<'_>, options: RequestOptions) -> RequestOptions {
    let RequestOptions { params, headers, data, json } = &options;
    let values = [params, headers, data, json].into_iter().flat_map(Map::values);
    let listener = access.token_listener();
    for value in values.filter_map(Json::as_str) {
        // Behind `Bearer` or `Basic`. A scheme alone is no secret.
        let (scheme, secret) = value.split_once(' ').unwrap_or(("", value));
        listener.learned(secret);
        let pair = (scheme == "Basic").then(|| STANDARD.decode(secret).ok()).flatten();
        if let Some(pair) = pair.and_then(|pair| String::from_utf8(pair).ok()) {
            listener.learned(pair.split_once(':').map_or("", |(_, password)| password));
            listener.learned(&pair);
        }
    }
    options
}

/// Sends the token and login requests of a requester's credentials.
struct Access<'r> {
    context: RequestContext<'r>,
    login: Option<&'r RequesterPlan>,
}

impl TokenTransport for Access<'_> {
    fn send(&self, request: &dyn Fn() -> Result<TokenRequest>) -> Result<(u16, Vec<u8>)> {
        let first = request()?;
        let settled = first.settled.clone();
        let ask = SendRequest {
            request: &prepared(first)?,
            errors: &ErrorPlan::default(),
            keep: CacheMode::No,
            stream: self.context.stream,
            partition: &Map::new(),
            into: None,
            holds: None,
            json: true,
            broken: None,
            login: true,
            credentials: None,
            paced: false,
        };
        let reply = self.context.shared.fetcher.token(&ask, &settled, &|| prepared(request()?))?;
        Ok((reply.status, reply.body))
    }

    fn login(&self, paced: bool) -> Result<Json> {
        let login = self.login.ok_or_else(|| Fault::bug("a session without a login"))?;
        let partition = Map::new();
        let of_stream = RequestContext::new(self.context.shared, self.context.stream, &partition);
        let context = RequestContext { json: true, login: true, ..of_stream };
        match login.send(context, &Vars::new(&self.context.shared.cx), &InjectedOptions::default(), paced)? {
            Outcome::Page(reply) => scan::json(&reply.body)
                .map_err(|e| Fault::new(Kind::Auth, format!("the login response is not valid JSON: {e}"))),
            _ => Err(Fault::new(Kind::Auth, "the login was refused, and the manifest ignores the error")),
        }
    }

    fn token_listener(&self) -> &dyn TokenListener {
        &*self.context.shared.token_listener
    }

    fn say(&self, text: &str) {
        (self.context.shared.noticed)(self.context.stream, text);
    }

    fn stop(&self) -> &Stop {
        &self.context.shared.stop
    }
}

/// Converts a token request.
fn prepared(request: TokenRequest) -> Result<PreparedRequest> {
    let origin = origin_of(&request.url)
        .ok_or_else(|| Fault::config(format!("the token endpoint is not a URL: {}", flaw(&request.url))))?;
    Ok(PreparedRequest {
        method: request.method.to_owned(),
        url: request.url,
        origin,
        headers: request.headers,
        body: request.body.map(|(content_type, bytes)| Body { bytes, content_type: Some(content_type) }),
        free: false,
        connect_within: None,
        answer_within: None,
    })
}

/// The attempts of one request, each signed with valid credentials.
struct Signing<'r> {
    plan: &'r RequesterPlan,
    access: &'r Access<'r>,
    vars: &'r Vars<'r>,
    added: &'r InjectedOptions,
    owner: usize,
    taken: RefCell<Taken>,
}

/// The credentials of the last attempt.
#[derive(Default)]
struct Taken {
    token: Option<String>,
    until: Option<OffsetDateTime>,
    turn: Option<Turn>,
    /// Method and URL of the request that used them.
    call: (String, String),
}

impl Signing<'_> {
    /// The request, signed by the next token in rotation.
    fn signed_in_turn(&self, rotation: &Rotation) -> Result<PreparedRequest> {
        let mut signed = self.plan.prepare(RequestOptions::default(), self.vars, self.added)?;
        let turn = rotation.take(&signed.call(), self.vars.cx, self.access)?;
        self.taken.borrow_mut().turn = Some(turn);
        let (name, value) = rotation.header(turn);
        signed.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        signed.headers.push((name.to_owned(), value));
        Ok(signed)
    }
}

impl fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

impl LiveCredentials for Signing<'_> {
    fn owner(&self) -> usize {
        self.owner
    }

    fn take_turns(&self) -> bool {
        self.plan.auth.rotation().is_some()
    }

    fn sign(&self) -> Result<PreparedRequest> {
        if let Some(rotation) = self.plan.auth.rotation() {
            return self.signed_in_turn(rotation);
        }
        let Credentials { options, token, until } = self.plan.auth.credentials(self.vars, self.access)?;
        let signed = self.plan.prepare(learned(self.access, options), self.vars, self.added)?;
        let call = (signed.method.clone(), signed.url.clone());
        *self.taken.borrow_mut() = Taken { token, until, turn: None, call };
        Ok(signed)
    }

    fn sign_again(&self, request: &PreparedRequest) -> Result<Option<PreparedRequest>> {
        let (until, call) = {
            let taken = self.taken.borrow();
            (taken.until, taken.call.clone())
        };
        if until.is_none_or(|until| self.vars.cx.moment() <= until) {
            return Ok(None);
        }
        let signed = self.sign()?;
        if (&request.method, &request.url) == (&call.0, &call.1) {
            return Ok(Some(signed));
        }
        // A redirect determines the URL and method, and whether there is a body.
        let body = request.body.as_ref().and(signed.body);
        Ok(Some(PreparedRequest { headers: signed.headers, body, ..request.clone() }))
    }

    fn answered(&self, reply: &Reply) {
        if let (Some(rotation), Some(turn)) = (self.plan.auth.rotation(), self.taken.borrow().turn) {
            rotation.answered(turn, reply.status, &|name| reply.header(name));
        }
    }

    fn others(&self) -> bool {
        let turn = self.taken.borrow().turn;
        self.plan.auth.rotation().zip(turn).is_some_and(|(rotation, turn)| rotation.another(turn))
    }

    fn renew(&self) -> Result<bool> {
        let taken = self.taken.borrow();
        match (self.plan.auth.rotation(), taken.turn, &taken.token) {
            (Some(rotation), Some(turn), _) => Ok(rotation.refused(turn)),
            (None, _, Some(token)) => self.plan.auth.renew(token, self.vars, self.access),
            _ => Ok(false),
        }
    }
}
