//! A requester with its credentials, and what those need from the engine.
//!
//! Comes in: the requester's definition; then variables and options. Goes out: the request's outcome, with a refused
//! token renewed once. Called by `slice_reader` for pages, by `async_job` for the jobs before them, and by `files`.

use std::cell::Cell;
use std::fmt;
use std::fs::File;

use serde_json::{Map, Value as Json};

use super::build::{Build, base_of};
use super::context::EngineContext;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::scan;
use crate::base::stop::Stop;
use crate::engine::auth::{self, Auth, Rotation, TokenListener, TokenRequest, TokenTransport, Turn};
use crate::engine::fetch::address::{flaw, origin_of};
use crate::engine::fetch::request::{self, Body, PreparedRequest, RequestPlan};
use crate::engine::fetch::retry::{self, ErrorPlan};
use crate::engine::fetch::{CacheMode, Outcome, Reply, SendRequest, TokenRotation};
use crate::manifest::model::{self, HttpRequester};
use crate::manifest::template::{RequestOptions, Vars};

/// A requester, compiled.
#[derive(Debug, Clone)]
pub struct RequesterPlan {
    request: RequestPlan,
    auth: Auth,
    /// What is done about errors.
    pub errors: ErrorPlan,
    /// The login that the credentials need.
    login: Option<Box<RequesterPlan>>,
}

/// For whom a request is made.
#[derive(Clone, Copy)]
pub(super) struct RequestContext<'a> {
    pub(super) shared: &'a EngineContext,
    pub(super) stream: &'a str,
    pub(super) partition: &'a Map<String, Json>,
    pub(super) keep: CacheMode,
    /// A file takes the answer, where it is large.
    pub(super) into: Option<&'a File>,
    /// See [`SendRequest::holds`].
    pub(super) holds: Option<&'a dyn Fn(&[u8]) -> bool>,
}

/// What goes into a request beside what its requester says.
#[derive(Debug, Clone, Default)]
pub(super) struct InjectedOptions {
    /// The fields to give.
    pub(super) names: Option<(String, Json)>,
    /// The page.
    pub(super) page: RequestOptions,
    /// The slice.
    pub(super) slice: RequestOptions,
    /// The path that the page's token is.
    pub(super) path: Option<String>,
}

/// Compiles a requester; `names` are further names that its templates may use; one that is `free` may go where the
/// vendor says.
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
    /// The names in its parameters that are lists of them.
    pub(super) fn lists(&self, vars: &Vars<'_>) -> Vec<String> {
        self.request.lists(vars)
    }

    /// May its requests carry that entry of their slice?
    pub(super) fn reads_of_slice(&self, entry: &str) -> bool {
        self.request.reads_of_slice(entry)
    }

    /// With the other's address counting as the manifest's own, where its own is left to the vendor.
    pub(super) fn beside(mut self, other: &RequesterPlan) -> RequesterPlan {
        self.request = self.request.beside(&other.request);
        self
    }

    /// Asks; a token that is refused is renewed once.
    pub(super) fn ask(&self, context: RequestContext<'_>, vars: &Vars<'_>, added: &InjectedOptions) -> Result<Outcome> {
        let access = Access { context, login: self.login.as_deref() };
        let turning = self.auth.rotation();
        let turning = turning.map(|rotation| Turning { rotation, access: &access, turn: Cell::new(None) });
        let mut renewed = false;
        loop {
            let mut credentials = self.auth.credentials(vars, &access)?;
            if let Some(names) = &added.names {
                let own = std::mem::take(&mut credentials.options.params);
                credentials.options.params = [names.clone()].into_iter().chain(own).collect();
            }
            let options = [credentials.options, added.page.clone(), added.slice.clone()];
            let ask = SendRequest {
                request: &self.request.prepare(vars, options, added.path.as_deref())?,
                errors: &self.errors,
                keep: context.keep,
                stream: context.stream,
                partition: context.partition,
                renews: self.auth.renews(),
                into: context.into,
                holds: context.holds,
                turns: turning.as_ref().map(|turning| turning as &dyn TokenRotation),
            };
            match (context.shared.fetcher.send(&ask)?, credentials.token) {
                (Outcome::Unauthorized(_), Some(token)) if !renewed => {
                    self.auth.renew(&token, vars, &access)?;
                    renewed = true;
                }
                (Outcome::Unauthorized(fault), _) => return Err(fault),
                (outcome, _) => return Ok(outcome),
            }
        }
    }
}

/// The way of one requester's credentials to the vendor.
struct Access<'r> {
    context: RequestContext<'r>,
    login: Option<&'r RequesterPlan>,
}

impl TokenTransport for Access<'_> {
    fn send(&self, request: TokenRequest) -> Result<(u16, Vec<u8>)> {
        let origin = origin_of(&request.url).ok_or_else(|| {
            Fault::config(format!("the address of the token endpoint is not a URL: {}", flaw(&request.url)))
        })?;
        let prepared = PreparedRequest {
            method: request.method.to_owned(),
            url: request.url,
            origin,
            headers: request.headers,
            body: request.body.map(|(content_type, bytes)| Body { bytes, content_type: Some(content_type) }),
            free: false,
            connect_within: None,
            answer_within: None,
        };
        let ask = SendRequest {
            request: &prepared,
            errors: &ErrorPlan::default(),
            keep: CacheMode::No,
            stream: self.context.stream,
            partition: &Map::new(),
            renews: false,
            into: None,
            holds: None,
            turns: None,
        };
        let reply = self.context.shared.fetcher.token(&ask, &request.settled)?;
        Ok((reply.status, reply.body))
    }

    fn login(&self) -> Result<Json> {
        let login = self.login.ok_or_else(|| Fault::bug("a session without a login"))?;
        let context =
            RequestContext { partition: &Map::new(), keep: CacheMode::No, into: None, holds: None, ..self.context };
        match login.ask(context, &Vars::new(&self.context.shared.cx), &InjectedOptions::default())? {
            Outcome::Page(reply) => scan::json(&reply.body)
                .map_err(|e| Fault::new(Kind::Auth, format!("the answer to the login is not valid JSON: {e}"))),
            _ => Err(Fault::new(Kind::Auth, "the login was refused, and the manifest ignores it")),
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

/// The tries of one request, by tokens that take turns.
struct Turning<'r> {
    rotation: &'r Rotation,
    access: &'r Access<'r>,
    turn: Cell<Option<Turn>>,
}

impl fmt::Debug for Turning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turning").finish_non_exhaustive()
    }
}

impl TokenRotation for Turning<'_> {
    fn sign(&self, request: &PreparedRequest) -> Result<PreparedRequest> {
        let turn = self.rotation.take(&request.call(), &self.access.context.shared.cx, self.access)?;
        self.turn.set(Some(turn));
        let (name, value) = self.rotation.header(turn);
        let mut signed = request.clone();
        signed.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        signed.headers.push((name.to_owned(), value));
        Ok(signed)
    }

    fn answered(&self, reply: &Reply) {
        if let Some(turn) = self.turn.get() {
            self.rotation.answered(turn, reply.status, &|name| reply.header(name));
        }
    }

    fn others(&self) -> bool {
        self.turn.get().is_some_and(|turn| self.rotation.another(turn))
    }
}
