//! Session tokens from a login, in the newer and the older form.
//!
//! Input: the definitions; then the variables of a request. Output: a token, from a new login if there is no valid
//! one. Called by [`super::Auth`]. One login serves all streams of a run, and a rejected token is replaced once; the
//! reference logs in for each stream, and fails.

use parking_lot::Mutex;

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::{KeyPlace, LiveToken, TokenRequest, TokenTransport};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::python;
use crate::base::timefmt::Period;
use crate::manifest::model::{LegacySessionTokenAuthenticator, SessionTokenAuthenticator, SessionTokenUse};
use crate::manifest::node::Text;
use crate::manifest::template::{EvalContext, Injection, RequestOptions, Template, Vars, text_of};

/// A token from a login.
#[derive(Debug)]
pub struct Session {
    path: Vec<String>,
    lives: Option<Period>,
    /// How the token is sent; `None` for `Authorization: Bearer`.
    carried: Option<(Template, KeyPlace)>,
    /// The definition, to recognize equal sessions; `None` if the login has its own credentials.
    written: Option<Json>,
    token: Mutex<Option<(String, OffsetDateTime)>>,
}

impl Session {
    pub(super) fn build(def: &SessionTokenAuthenticator, cx: &EvalContext) -> Result<Session> {
        let lives = match def.expiration_duration.as_ref().filter(|t| !t.value.is_null()) {
            Some(text) => Some(Period::parse(&text_of(&text.value)).map_err(|e| text.at.fault(e))?),
            None => None,
        };
        let carried = match &def.request_authentication {
            SessionTokenUse::Bearer(_) => None,
            SessionTokenUse::ApiKey(key) => {
                let plain = Text { value: json!("{{ session_token }}"), at: key.at.clone() };
                let template = Template::compile(key.api_token.as_ref().unwrap_or(&plain), &["session_token"])?;
                Some((template, KeyPlace::Option(Injection::build(&key.inject_into, cx)?)))
            }
        };
        if def.session_token_path.is_empty() {
            return Err(def.at.field("session_token_path", None).fault("`session_token_path` is empty"));
        }
        let crate::manifest::model::Requester::HttpRequester(login) = &*def.login_requester;
        let written = |text: &Option<Text>| text.as_ref().map(|t| (t.value.clone(), (*t.at.parameters).clone()));
        let parts = [&login.url, &login.url_base, &login.path, &login.request_parameters, &login.request_headers];
        let bodies = [&login.request_body_data, &login.request_body_json];
        let written = login.authenticator.is_none().then(|| {
            json!([
                parts.map(written),
                bodies.map(written),
                login.http_method,
                def.session_token_path,
                def.expiration_duration.as_ref().map(|t| &t.value),
                carried.as_ref().map(|(t, p)| format!("{t:?} {p:?}")),
            ])
        });
        Ok(Session { path: def.session_token_path.clone(), lives, carried, written, token: Mutex::default() })
    }

    /// Two sessions with the same login are one.
    pub(super) fn identity(&self) -> Option<String> {
        self.written.as_ref().map(python::canonical)
    }

    /// A token that is valid as far as is known.
    pub(super) fn token(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<LiveToken> {
        let mut cached = self.token.lock();
        let now = vars.cx.moment();
        if let Some((token, until)) = &*cached
            && now <= *until
        {
            return Ok(LiveToken { text: token.clone(), until: Some(*until) });
        }
        // Calls with a permit may be waiting for a shared token: its login must not wait for the pace.
        let body = exchange.login(self.lives.is_none())?;
        let found = self.path.iter().try_fold(&body, |value, key| match value {
            Json::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key.as_str()),
        });
        let token = found.filter(|v| !v.is_null()).map(text_of).ok_or_else(|| {
            Fault::new(Kind::Auth, format!("the login response has no `{}`", self.path.join(".")))
                .hint("check `session_token_path`, and the credentials in the config")
        })?;
        exchange.token_listener().learned(&token);
        // Without a lifetime every request logs in, as in the reference.
        *cached = self.lives.and_then(|lives| Some((token.clone(), lives.after(now)?)));
        let until = cached.as_ref().map(|(_, until)| *until).filter(|until| vars.cx.moment() <= *until);
        Ok(LiveToken { text: token, until })
    }

    pub(super) fn renew(&self, refused: &str) {
        let mut cached = self.token.lock();
        if cached.as_ref().is_some_and(|(token, _)| token == refused) {
            *cached = None;
        }
    }

    pub(super) fn put(&self, token: &str, vars: &Vars<'_>, options: &mut RequestOptions) -> Result<()> {
        let Some((template, place)) = &self.carried else {
            options.headers.insert("Authorization".into(), json!(format!("Bearer {token}")));
            return Ok(());
        };
        let extra = json!({"session_token": token});
        let vars = Vars { extra: Some(&extra), ..*vars };
        place.put(template.raw_text(&vars)?, &vars, options)
    }
}

/// A session token, or one from user and password.
#[derive(Debug)]
pub struct Legacy {
    base: Template,
    header: Template,
    login: Template,
    validate: Template,
    key: Template,
    session_token: Option<Template>,
    username: Option<Template>,
    password: Option<Template>,
    token: Mutex<Found>,
}

/// The state of a legacy session.
#[derive(Debug, Default)]
struct Found {
    token: Option<String>,
    /// Was the token from the config rejected?
    refused: bool,
}

impl Legacy {
    pub(super) fn build(def: &LegacySessionTokenAuthenticator, base: Option<&Text>) -> Result<Legacy> {
        let base = base.ok_or_else(|| def.at.fault("the login needs a `url_base`, which the requester lacks"))?;
        let compile = |text: &Text| Template::compile(text, &[]);
        let optional = |text: &Option<Text>| text.as_ref().filter(|t| !t.value.is_null()).map(compile).transpose();
        Ok(Legacy {
            base: compile(base)?,
            header: compile(&def.header)?,
            login: compile(&def.login_url)?,
            validate: compile(&def.validate_session_url)?,
            key: compile(&def.session_token_response_key)?,
            session_token: optional(&def.session_token)?,
            username: optional(&def.username)?,
            password: optional(&def.password)?,
            token: Mutex::default(),
        })
    }

    /// Two sessions with the same login are one.
    pub(super) fn identity(&self, cx: &EvalContext) -> Option<String> {
        let vars = Vars::new(cx);
        let parts = [&self.base, &self.header, &self.login, &self.validate, &self.key].map(|t| t.raw_text(&vars).ok());
        let own = [&self.session_token, &self.username, &self.password];
        let own = own.map(|t| t.as_ref().and_then(|t| t.raw_text(&vars).ok()));
        parts.iter().all(Option::is_some).then(|| python::canonical(&json!([parts, own])))
    }

    /// The name of the header, and the token.
    pub(super) fn token(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<(String, String)> {
        let header = self.header.text(vars)?;
        let mut found = self.token.lock();
        if let Some(token) = &found.token {
            return Ok((header, token.clone()));
        }
        let text = |t: &Option<Template>| t.as_ref().map_or(Ok(String::new()), |t| t.raw_text(vars));
        let base = self.base.text(vars)?;
        let own = text(&self.session_token)?;
        if !own.is_empty() && !found.refused {
            let url = format!("{base}{}", self.validate.text(vars)?);
            let headers = vec![(header.clone(), own.clone())];
            let request = TokenRequest { method: "GET", url, headers, ..TokenRequest::default() };
            let (status, _) = exchange.send(&|| Ok(request.clone()))?;
            match status {
                ..=399 => {
                    found.token = Some(own.clone());
                    return Ok((header, own));
                }
                401 => {}
                other => {
                    return Err(Fault::data(format!("cannot check the session token: HTTP {other}")));
                }
            }
        }
        let (user, password) = (text(&self.username)?, text(&self.password)?);
        if user.is_empty() || password.is_empty() {
            return Err(Fault::new(
                Kind::Auth,
                "the session token is not valid, and the config has no user and password",
            )
            .hint("set a new session token, or user and password, in the config"));
        }
        let body = python::dumps(&json!({"username": user, "password": password})).into_bytes();
        let request = TokenRequest {
            method: "POST",
            url: format!("{base}{}", self.login.text(vars)?),
            body: Some(("application/json", body)),
            ..TokenRequest::default()
        };
        let (status, answer) = exchange.send(&|| Ok(request.clone()))?;
        if status >= 400 {
            return Err(Fault::new(Kind::Auth, format!("the login was refused: HTTP {status}"))
                .hint("check user and password in the config"));
        }
        let key = self.key.text(vars)?;
        let answer: Json = serde_json::from_slice(&answer).unwrap_or_default();
        let token = answer.get(&key).filter(|v| !v.is_null()).map(text_of).ok_or_else(|| {
            Fault::new(Kind::Auth, format!("the login response has no `{key}`"))
                .hint("check `session_token_response_key`")
        })?;
        exchange.token_listener().learned(&token);
        found.token = Some(token.clone());
        Ok((header, token))
    }

    pub(super) fn renew(&self, refused: &str) {
        let mut found = self.token.lock();
        if found.token.as_deref() == Some(refused) {
            *found = Found { token: None, refused: true };
        }
    }
}
