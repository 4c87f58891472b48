//! Authentication: adds credentials to requests.
//!
//! Input: an authenticator's definition; then, for each request, the variables. Output: request options with the
//! credentials; credentials that expire are fetched first. Called by `requester`. Credentials are sent as written:
//! the reference parses one that looks like a number (`1e5` becomes `100000.0`), which no vendor accepts.

mod jwt;
mod oauth;
mod rotation;
mod session;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::base::fault::{Result, did_you_mean};
use crate::base::stop::Stop;
use crate::base::store::Store;
use crate::manifest::dpath;
use crate::manifest::model::{Authenticator, Requester};
use crate::manifest::node::Text;
use crate::manifest::template::{EvalContext, Injection, RequestOptions, Template, Vars, text_of};
use jwt::Jwt;
use oauth::OAuth;
pub use rotation::{Rotation, Turn};
use session::{Legacy, Session};

/// A compiled authenticator. Clones share the tokens that they fetched.
#[derive(Debug, Clone)]
pub enum Auth {
    /// No authentication.
    None,
    /// An API key under a name.
    Key(Template, KeyPlace),
    /// A bearer token.
    Bearer(Template),
    /// User and password.
    Basic(Template, Option<Template>),
    /// A token signed for each request.
    Jwt(Arc<Jwt>),
    /// A token from an OAuth server.
    OAuth(Arc<OAuth>),
    /// A token from a login.
    Session(Arc<Session>),
    /// A session token, or one obtained with user and password.
    Legacy(Arc<Legacy>),
    /// Several tokens in rotation: each attempt of a request takes the next.
    Rotation(Arc<Rotation>),
}

/// Where an API key goes.
#[derive(Debug, Clone)]
pub enum KeyPlace {
    /// A header.
    Header(Template),
    /// Anywhere in the request.
    Option(Injection),
}

/// What a request needs to authenticate.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The request options with the credentials.
    pub options: RequestOptions,
    /// The token among them, if another one can be fetched when the vendor rejects it.
    pub token: Option<String>,
    /// After this time they are renewed before use; `None` if they do not expire or were expired when fetched.
    pub until: Option<OffsetDateTime>,
}

/// A token that expires.
#[derive(Debug)]
struct LiveToken {
    text: String,
    /// See [`Credentials::until`].
    until: Option<OffsetDateTime>,
}

/// A request for a token.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// GET or POST.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// A body and its `Content-Type`.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Statuses that are a final response, though they look like a busy server.
    pub settled: Vec<u16>,
}

/// What expiring credentials need from the rest of the engine.
pub trait TokenTransport {
    /// Sends a token request, built again for each attempt, and waits while the server is busy; returns status and
    /// body.
    fn send(&self, request: &dyn Fn() -> Result<TokenRequest>) -> Result<(u16, Vec<u8>)>;

    /// Sends the login request of a session; returns the body of the response. Only a `paced` login waits for the
    /// account's pace: otherwise a call that already has its permit is waiting for it.
    fn login(&self, paced: bool) -> Result<Json>;

    /// The listener for new tokens.
    fn token_listener(&self) -> &dyn TokenListener;

    /// Shows a message to the user.
    fn say(&self, text: &str);

    /// The stop request.
    fn stop(&self) -> &Stop;
}

/// Receives new tokens.
pub trait TokenListener: Send + Sync {
    /// From now on no log may show this secret.
    fn learned(&self, secret: &str);

    /// The vendor replaced these config values, given by path: they must be saved before use.
    fn rotated(&self, changes: &[(&[String], String)]) -> Result<()>;
}

/// Builds authenticators. Equal definitions share their tokens, so a run of many streams logs in once.
#[derive(Debug, Default)]
pub struct Builder {
    store: Option<Store>,
    announced: bool,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    oauths: Mutex<HashMap<String, Arc<OAuth>>>,
    jwts: Mutex<HashMap<String, Arc<Jwt>>>,
    legacies: Mutex<HashMap<String, Arc<Legacy>>>,
    rotations: Mutex<HashMap<String, Arc<Rotation>>>,
}

impl Builder {
    /// Creates a builder. Single-use tokens are saved in `store`, or by the reader of the messages if they are
    /// `announced` (Airbyte's platform saves them).
    pub fn new(store: Option<Store>, announced: bool) -> Builder {
        Builder { store, announced, ..Builder::default() }
    }

    /// Compiles an authenticator; `base` is the base URL of its requester.
    pub fn build(&self, def: Option<&Authenticator>, base: Option<&Text>, cx: &EvalContext) -> Result<Auth> {
        if let Some(Authenticator::SelectiveAuthenticator(def)) = def {
            // A fault in an option that is not selected is still a fault of the manifest.
            for other in def.authenticators.values() {
                self.build(Some(other), base, cx)?;
            }
        }
        Ok(match selected(def, cx)? {
            None | Some(Authenticator::NoAuth(_) | Authenticator::SelectiveAuthenticator(_)) => Auth::None,
            Some(Authenticator::BearerAuthenticator(def)) => Auth::Bearer(Template::compile(&def.api_token, &[])?),
            Some(Authenticator::BasicHttpAuthenticator(def)) => Auth::Basic(
                Template::compile(&def.username, &[])?,
                def.password.as_ref().map(|p| Template::compile(p, &[])).transpose()?,
            ),
            Some(Authenticator::ApiKeyAuthenticator(def)) => {
                let place = match (&def.inject_into, &def.header) {
                    (Some(option), None) => KeyPlace::Option(Injection::build(option, cx)?),
                    (None, Some(header)) => KeyPlace::Header(Template::compile(header, &[])?),
                    (Some(_), Some(_)) => {
                        return Err(def.at.fault("only one of `inject_into` and `header` can be given"));
                    }
                    (None, None) => return Err(def.at.fault("`inject_into` is missing")),
                };
                let token = def.api_token.as_ref().ok_or_else(|| def.at.fault("`api_token` is missing"))?;
                Auth::Key(Template::compile(token, &[])?, place)
            }
            Some(Authenticator::JwtAuthenticator(def)) => {
                let jwt = Jwt::build(def, cx)?;
                Auth::Jwt(shared(&self.jwts, jwt.identity(cx), jwt))
            }
            Some(Authenticator::OAuthAuthenticator(def)) => {
                let oauth = OAuth::build(def, self, cx)?;
                Auth::OAuth(shared(&self.oauths, oauth.identity(cx), oauth))
            }
            Some(Authenticator::SessionTokenAuthenticator(def)) => {
                let session = Session::build(def, cx)?;
                Auth::Session(shared(&self.sessions, session.identity(), session))
            }
            Some(Authenticator::LegacySessionTokenAuthenticator(def)) => {
                let legacy = Legacy::build(def, base)?;
                Auth::Legacy(shared(&self.legacies, legacy.identity(cx), legacy))
            }
            Some(Authenticator::RateLimitedMultipleTokenAuthenticator(def)) => {
                let rotation = Rotation::build(def, cx)?;
                Auth::Rotation(shared(&self.rotations, Some(rotation.identity()), rotation))
            }
        })
    }
}

/// Returns the existing authenticator with this identity, or this one. Without an identity nothing is shared.
fn shared<T>(known: &Mutex<HashMap<String, Arc<T>>>, identity: Option<String>, new: T) -> Arc<T> {
    let Some(identity) = identity else { return Arc::new(new) };
    let mut known = known.lock();
    known.entry(identity).or_insert_with(|| Arc::new(new)).clone()
}

/// The authenticator that the config selects, if the definition selects by config.
fn selected<'d>(def: Option<&'d Authenticator>, cx: &EvalContext) -> Result<Option<&'d Authenticator>> {
    let Some(Authenticator::SelectiveAuthenticator(def)) = def else { return Ok(def) };
    let path = def.authenticator_selection_path.join(".");
    let at = def.at.field("authenticator_selection_path", None);
    let found = dpath::get(&cx.config, &def.authenticator_selection_path);
    let name = text_of(found.ok_or_else(|| {
        let known = def.authenticators.keys().map(String::as_str).collect::<Vec<_>>();
        at.fault(format!("the config has no `{path}`, which selects the authenticator"))
            .hint(format!("it can be one of {}", known.join(", ")))
    })?);
    match def.authenticators.get(&name) {
        Some(found) => selected(Some(found), cx),
        None => {
            let known = || def.authenticators.keys().map(String::as_str);
            let fault = at.fault(format!("config `{path}` selects an authenticator that does not exist"));
            Err(match did_you_mean(&name, known()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("it can be one of {}", known().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}

/// The login request of an authenticator that needs one.
pub fn login<'d>(def: Option<&'d Authenticator>, cx: &EvalContext) -> Result<Option<&'d Requester>> {
    Ok(match selected(def, cx)? {
        Some(Authenticator::SessionTokenAuthenticator(def)) => Some(&*def.login_requester),
        _ => None,
    })
}

impl Auth {
    /// An identity of the credentials, if they are renewed for each attempt of a request: they expire or rotate.
    pub fn owner(&self) -> Option<usize> {
        Some(match self {
            Auth::None | Auth::Key(..) | Auth::Bearer(_) | Auth::Basic(..) => return None,
            Auth::Jwt(jwt) => Arc::as_ptr(jwt).addr(),
            Auth::OAuth(oauth) => Arc::as_ptr(oauth).addr(),
            Auth::Session(session) => Arc::as_ptr(session).addr(),
            Auth::Legacy(legacy) => Arc::as_ptr(legacy).addr(),
            Auth::Rotation(rotation) => Arc::as_ptr(rotation).addr(),
        })
    }

    /// The token rotation, if there is one: then each attempt is signed separately, not the request.
    pub fn rotation(&self) -> Option<&Rotation> {
        match self {
            Auth::Rotation(rotation) => Some(rotation),
            _ => None,
        }
    }

    /// The credentials for a request that is sent now; an expired token is renewed first.
    pub fn credentials(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<Credentials> {
        let mut out = Credentials::default();
        let mut authorization = |value: String| {
            out.options.headers.insert("Authorization".into(), Json::String(value));
        };
        match self {
            Auth::None | Auth::Rotation(_) => {}
            Auth::Bearer(token) => authorization(format!("Bearer {}", token.raw_text(vars)?)),
            Auth::Basic(user, password) => {
                let password = password.as_ref().map_or(Ok(String::new()), |p| p.raw_text(vars))?;
                let pair = format!("{}:{password}", user.raw_text(vars)?);
                authorization(format!("Basic {}", STANDARD.encode(pair)));
            }
            Auth::Key(token, place) => place.put(token.raw_text(vars)?, vars, &mut out.options)?,
            Auth::Jwt(jwt) => {
                let token = jwt.put(vars, &mut out.options)?;
                exchange.token_listener().learned(&token);
                (out.token, out.until) = (Some(token), Some(jwt.fresh_until(vars)));
            }
            Auth::OAuth(oauth) => {
                let token = oauth.token(vars, exchange)?;
                authorization(format!("Bearer {}", token.text));
                (out.token, out.until) = (Some(token.text), token.until);
            }
            Auth::Session(session) => {
                let token = session.token(vars, exchange)?;
                session.put(&token.text, vars, &mut out.options)?;
                (out.token, out.until) = (Some(token.text), token.until);
            }
            Auth::Legacy(legacy) => {
                let (header, token) = legacy.token(vars, exchange)?;
                out.options.headers.insert(header, Json::String(token.clone()));
                out.token = Some(token);
            }
        }
        Ok(out)
    }

    /// The vendor rejected `token`: fetches another one for the next attempt; false if there is none. If several
    /// requests are rejected together, only one of them fetches a token.
    pub fn renew(&self, token: &str, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<bool> {
        match self {
            Auth::OAuth(oauth) => return oauth.renew(token, vars, exchange),
            Auth::Session(session) => session.renew(token),
            Auth::Legacy(legacy) => legacy.renew(token),
            // A signed token would be rejected again, unless it expired on the way.
            Auth::Jwt(_) => return Ok(jwt::ran_out(token, vars.cx.moment())),
            Auth::None | Auth::Key(..) | Auth::Bearer(_) | Auth::Basic(..) | Auth::Rotation(_) => return Ok(false),
        }
        Ok(true)
    }
}

impl KeyPlace {
    fn put(&self, token: String, vars: &Vars<'_>, options: &mut RequestOptions) -> Result<()> {
        match self {
            KeyPlace::Header(name) => drop(options.headers.insert(name.text(vars)?, Json::String(token))),
            KeyPlace::Option(inject) => inject.put(Json::String(token), options),
        }
        Ok(())
    }
}
