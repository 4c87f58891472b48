//! What credentials that live need from the engine: requests for tokens, and logins.
//!
//! Comes in: a token request of [`crate::auth`], or the wish for a stream's login. Goes out: the answer. Called by
//! `reader`, before a page is asked for.

use serde_json::{Map, Value as Json};

use super::build::StreamPlan;
use super::reader::Shared;
use crate::auth::{Exchange, Keeper, TokenRequest};
use crate::fault::{Fault, Kind, Result};
use crate::fetch::request::{Body, Prepared, origin_of};
use crate::fetch::retry::ErrorPlan;
use crate::fetch::{Ask, Keep, Outcome};
use crate::plan::{Options, Vars};
use crate::scan;
use crate::stop::Stop;

/// The way of one stream's credentials to the vendor.
pub(super) struct Access<'r> {
    pub(super) shared: &'r Shared,
    pub(super) stream: &'r StreamPlan,
}

impl Exchange for Access<'_> {
    fn send(&self, request: TokenRequest) -> Result<(u16, Vec<u8>)> {
        let origin =
            origin_of(&request.url).ok_or_else(|| Fault::config("the address of the token endpoint is no URL"))?;
        let prepared = Prepared {
            method: request.method.to_owned(),
            url: request.url,
            origin,
            headers: request.headers,
            body: request.body.map(|(content_type, bytes)| Body { bytes, content_type: Some(content_type) }),
            connect_within: None,
            answer_within: None,
        };
        let ask = Ask {
            request: &prepared,
            errors: &ErrorPlan::default(),
            keep: Keep::No,
            stream: &self.stream.name,
            partition: &Map::new(),
            renews: false,
        };
        let reply = self.shared.fetcher.token(&ask)?;
        Ok((reply.status, reply.body))
    }

    fn login(&self) -> Result<Json> {
        let login = self.stream.login.as_ref().ok_or_else(|| Fault::bug("a session without a login"))?;
        let vars = Vars::new(&self.shared.ground);
        let credentials = login.auth.credentials(&vars, self)?;
        let added = [credentials.options, Options::default(), Options::default()];
        let ask = Ask {
            request: &login.request.prepare(&vars, added, None)?,
            errors: &login.errors,
            keep: Keep::No,
            stream: &self.stream.name,
            partition: &Map::new(),
            renews: false,
        };
        match self.shared.fetcher.send(&ask)? {
            Outcome::Page(reply) => scan::json(&reply.body)
                .map_err(|e| Fault::new(Kind::Auth, format!("the answer to the login is not valid JSON: {e}"))),
            _ => Err(Fault::new(Kind::Auth, "the login was refused, and the manifest ignores it")),
        }
    }

    fn keeper(&self) -> &dyn Keeper {
        &*self.shared.keeper
    }

    fn stop(&self) -> &Stop {
        &self.shared.stop
    }
}
