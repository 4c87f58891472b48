//! OAuth 2.0: fetches access tokens, and fetches them again when they expire.
//!
//! Input: the definition; then the variables of a request. Output: a valid access token. Called by [`super::Auth`].
//! The token request, its fields and the fields read from the response are those of airbyte-cdk's
//! `DeclarativeOauth2Authenticator`, or of its single-use variant if the manifest has a `refresh_token_updater`.
//!
//! A single-use refresh token is saved before the access token that came with it is used: in the state directory,
//! under a lock that serializes the processes of the account, and in a CONTROL message if the reader of the messages
//! saves it. If neither is available, the first refresh is refused, because no second one could succeed.

mod refusals;
mod request;
mod single_use;

use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use time::OffsetDateTime;

use super::jwt::Jwt;
use super::{Builder, LiveToken, TokenTransport};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::python;
use crate::base::timefmt::{Format, parse_iso};
use crate::manifest::model::OAuthAuthenticator;
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Template, Vars, text_of};
use refusals::Refusals;
use single_use::Updater;

/// A token from an OAuth server.
#[derive(Debug)]
pub struct OAuth {
    endpoint: Option<Template>,
    client_id: Option<Template>,
    client_secret: Option<Template>,
    refresh_token: Option<Template>,
    grant_type: Template,
    names: Names,
    scopes: Vec<String>,
    /// Additional body fields; their names are templates too.
    body: Vec<(Template, Template)>,
    headers: Vec<(Template, Template)>,
    in_query: bool,
    /// The format of the expiry time, if the response has a time instead of a number of seconds.
    tells_time: Option<Format>,
    first: Option<Template>,
    first_expiry: Option<Template>,
    assertion: Option<Jwt>,
    refusals: Refusals,
    updater: Option<Updater>,
    tokens: Mutex<Option<Tokens>>,
    at: Place,
}

/// The field names in the request and in the response.
#[derive(Debug)]
struct Names {
    access_token: Template,
    expires_in: Template,
    client_id: Template,
    client_secret: Template,
    refresh_token: Template,
    grant_type: Template,
}

/// The current tokens.
#[derive(Debug, Clone, Default)]
struct Tokens {
    access: Option<String>,
    refresh: Option<String>,
    /// `None`: expired.
    expires: Option<OffsetDateTime>,
    /// Must these tokens still be saved before they are used?
    unsaved: bool,
}

impl OAuth {
    pub(super) fn build(def: &OAuthAuthenticator, builder: &Builder, cx: &EvalContext) -> Result<OAuth> {
        let compile = |text: &Text| Template::compile(text, &[]);
        let optional = |text: &Option<Text>| text.as_ref().filter(|t| !t.value.is_null()).map(compile).transpose();
        let named = |text: &Option<Text>, name: &str| match optional(text)? {
            Some(template) => Ok(template),
            None => Template::of(&json!(name), &def.at, &[]),
        };
        let pairs = |text: &Option<Text>| -> Result<Vec<(Template, Template)>> {
            let Some(text) = text else { return Ok(Vec::new()) };
            let map = text.value.as_object().into_iter().flatten().filter(|(key, _)| *key != "$parameters");
            map.map(|(k, v)| {
                let at = text.at.field(k, None);
                Ok((Template::of(&json!(k), &at, &[])?, Template::of(v, &at, &[])?))
            })
            .collect()
        };
        let asserts = match &def.use_profile_assertion {
            Some(text) => compile(text)?.truth(&Vars::new(cx))?,
            None => false,
        };
        let assertion = match (&def.profile_assertion, asserts) {
            (Some(jwt), true) => Some(Jwt::build(jwt, cx)?),
            (None, true) => return Err(def.at.fault("`use_profile_assertion` needs a `profile_assertion`")),
            (_, false) => None,
        };
        if !asserts && (def.client_id.is_none() || def.client_secret.is_none()) && def.refresh_token_updater.is_none() {
            return Err(def.at.fault("`client_id` and `client_secret` are both needed"));
        }
        let grant_type = named(&def.grant_type, "refresh_token")?;
        let refreshes = grant_type.text(&Vars::new(cx)).is_ok_and(|g| g == "refresh_token");
        if !asserts && refreshes && def.refresh_token.is_none() && def.refresh_token_updater.is_none() {
            return Err(def.at.fault("`grant_type: refresh_token` needs a `refresh_token`"));
        }
        let updater = def.refresh_token_updater.as_ref();
        if updater.is_some() && def.token_refresh_endpoint.is_none() {
            return Err(def.at.fault("`refresh_token_updater` needs a `token_refresh_endpoint`"));
        }
        if def.token_refresh_endpoint.is_none() && def.access_token_value.is_none() {
            return Err(def.at.fault("`token_refresh_endpoint` is missing"));
        }
        Ok(OAuth {
            endpoint: optional(&def.token_refresh_endpoint)?,
            client_id: optional(&def.client_id)?,
            client_secret: optional(&def.client_secret)?,
            refresh_token: optional(&def.refresh_token)?,
            grant_type,
            names: Names {
                access_token: named(&def.access_token_name, "access_token")?,
                expires_in: named(&def.expires_in_name, "expires_in")?,
                client_id: named(&def.client_id_name, "client_id")?,
                client_secret: named(&def.client_secret_name, "client_secret")?,
                refresh_token: named(&def.refresh_token_name, "refresh_token")?,
                grant_type: named(&def.grant_type_name, "grant_type")?,
            },
            scopes: def.scopes.clone().unwrap_or_default(),
            body: pairs(&def.refresh_request_body)?,
            headers: pairs(&def.refresh_request_headers)?,
            in_query: def.send_refresh_request_as_query_params.unwrap_or(false),
            tells_time: match def.token_expiry_date_format.as_deref().filter(|f| !f.is_empty()) {
                Some(source) => {
                    let at = || def.at.field("token_expiry_date_format", None);
                    Some(Format::compile(source).map_err(|e| at().fault(e))?)
                }
                None => None,
            },
            first: optional(&def.access_token_value)?,
            first_expiry: optional(&def.token_expiry_date)?,
            assertion,
            refusals: Refusals::of(def)?,
            updater: updater.map(|u| Updater::build(u, builder)),
            tokens: Mutex::default(),
            at: def.at.clone(),
        })
    }

    /// Two authenticators with the same token request share one identity.
    pub(super) fn identity(&self, cx: &EvalContext) -> Option<String> {
        let vars = Vars::new(cx);
        let tokens = self.begin(&vars).ok()?;
        let fields = self.fields(&tokens, &vars).ok()?;
        let endpoint = self.endpoint.as_ref().map(|e| e.text(&vars)).transpose().ok()?;
        let names = [&self.names.access_token, &self.names.expires_in];
        let names = names.map(|n| n.text(&vars).unwrap_or_default());
        let updater = self.updater.as_ref().map(|u| json!([u.access, u.refresh, u.expiry, u.answer_field]));
        let begun = json!([tokens.access, tokens.expires.map(OffsetDateTime::unix_timestamp)]);
        let refusals = json!([self.refusals.statuses, self.refusals.key, self.refusals.values]);
        let headers = self.headers(&vars).ok()?;
        let tells_time = self.tells_time.as_ref().map(|format| format!("{format:?}"));
        let what = json!([endpoint, fields, headers, names, begun, self.in_query, tells_time, refusals, updater]);
        Some(python::canonical(&what))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tokens>> {
        self.tokens.lock()
    }

    /// A token that is valid as far as is known.
    pub(super) fn token(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<LiveToken> {
        self.current(vars, exchange, None)
    }

    /// The vendor rejected `token`: fetches another, unless another thread has done so; false if none can be fetched.
    pub(super) fn renew(&self, token: &str, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<bool> {
        if self.endpoint.is_none() {
            return Ok(false);
        }
        self.current(vars, exchange, Some(token)).map(|_| true)
    }

    fn current(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport, refused: Option<&str>) -> Result<LiveToken> {
        let mut known = self.lock();
        let mut tokens = match known.take() {
            Some(tokens) => tokens,
            None => self.begin(vars)?,
        };
        let serves = |tokens: &Tokens| {
            let lives = self.endpoint.is_none() || tokens.expires.is_some_and(|at| vars.cx.moment() <= at);
            tokens.access.clone().filter(|a| lives && !tokens.unsaved && refused != Some(a.as_str()))
        };
        let result = match serves(&tokens) {
            Some(token) => Ok(token),
            None => self.replace(&mut tokens, &serves, vars, exchange),
        };
        // A token that was expired when fetched serves once; one that cannot be renewed serves forever.
        let until = tokens.expires.filter(|at| self.endpoint.is_some() && vars.cx.moment() <= *at);
        *known = Some(tokens);
        result.map(|text| LiveToken { text, until })
    }

    /// The initial tokens from the config.
    fn begin(&self, vars: &Vars<'_>) -> Result<Tokens> {
        if let Some(updater) = &self.updater {
            let at = |path: &[String]| {
                let found = path.iter().try_fold(&vars.cx.config, |value, key| value.get(key.as_str()));
                found.filter(|v| !v.is_null()).map(text_of).filter(|t| !t.is_empty())
            };
            let expires = match at(&updater.expiry) {
                Some(text) => Some(
                    time_of(&text)
                        .ok_or_else(|| Fault::config(format!("config `{}` is not a time", updater.expiry.join("."))))?,
                ),
                None => None,
            };
            let refresh = Some(at(&updater.refresh).unwrap_or_default());
            return Ok(Tokens { access: at(&updater.access), refresh, expires, unsaved: false });
        }
        let text = |t: &Option<Template>| t.as_ref().map(|t| t.raw_text(vars)).transpose();
        let access = text(&self.first)?.filter(|t| !t.is_empty());
        let expires =
            match text(&self.first_expiry)?.filter(|t| !t.is_empty()) {
                Some(text) => Some(time_of(&text).ok_or_else(|| {
                    self.at.field("token_expiry_date", None).fault("the token's expiry is not a time")
                })?),
                None => None,
            };
        let expires = expires.filter(|_| access.is_some());
        Ok(Tokens { expires, access, refresh: text(&self.refresh_token)?, unsaved: false })
    }

    fn no_token(&self) -> Fault {
        Fault::new(Kind::Auth, "the token endpoint's response has no access token")
            .at(&self.at.location)
            .hint("check `access_token_name`")
    }
}

/// An expiry time: seconds since 1970, a date, or ISO 8601; UTC if it has no offset.
pub(super) fn time_of(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit()) {
        return OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
    }
    parse_iso(text)
}
