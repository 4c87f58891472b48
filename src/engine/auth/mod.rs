//! Who asks: credentials into requests.
//!
//! Input: an authenticator's definition; then, for each request, the variables. Output: options with the
//! credentials, fetched first where they live only for a while. Called by `run`. Credentials are sent as written: the
//! reference reads one that looks like a number as a number (`1e5` becomes `100000.0`), which no vendor accepts.

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

/// An authenticator, compiled. Clones share the tokens that they fetched.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody.
    None,
    /// A key under a name.
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
    /// A session token, or one from user and password.
    Legacy(Arc<Legacy>),
    /// Several tokens that take turns: each try of a request takes the next.
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

/// What a request needs so that the vendor knows who asks.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The options that carry it.
    pub options: RequestOptions,
    /// The token among them, where there may be another when the vendor refuses it.
    pub token: Option<String>,
    /// After this time they are taken anew before they are sent; nothing where they do not run out, or came expired.
    pub until: Option<OffsetDateTime>,
}

/// A token that lives for a while.
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
    /// A body with its `Content-Type`.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Statuses that are an answer, though they look as if the server were busy.
    pub settled: Vec<u16>,
}

/// What credentials that live need from the rest of the engine.
pub trait TokenTransport {
    /// Sends a request for a token, made anew for each try, with waits while the server is busy; gives status and
    /// body.
    fn send(&self, request: &dyn Fn() -> Result<TokenRequest>) -> Result<(u16, Vec<u8>)>;

    /// Sends the login of a session; gives the body of its answer. Only one that is `paced` waits for the account's
    /// pace: for the others a call waits that has leave to be sent.
    fn login(&self, paced: bool) -> Result<Json>;

    /// Hears of new tokens.
    fn token_listener(&self) -> &dyn TokenListener;

    /// Tells people of it.
    fn say(&self, text: &str);

    /// The wish to stop.
    fn stop(&self) -> &Stop;
}

/// Hears of tokens as they come.
pub trait TokenListener: Send + Sync {
    /// No log may show this secret from now on.
    fn learned(&self, secret: &str);

    /// The vendor replaced these values of the config, by their paths: they are to be kept before they are used.
    fn rotated(&self, changes: &[(&[String], String)]) -> Result<()>;
}

/// Builds authenticators: equal ones share their tokens, so that a run of many streams logs in once.
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
    /// A builder. Tokens that change with every use are kept in `store`, or by whoever reads the messages when they are
    /// `announced` (Airbyte's platform does).
    pub fn new(store: Option<Store>, announced: bool) -> Builder {
        Builder { store, announced, ..Builder::default() }
    }

    /// Compiles an authenticator; `base` is the address of the requester that it belongs to.
    pub fn build(&self, def: Option<&Authenticator>, base: Option<&Text>, cx: &EvalContext) -> Result<Auth> {
        if let Some(Authenticator::SelectiveAuthenticator(def)) = def {
            // A fault in one that is not selected is a fault of the manifest all the same.
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

/// The one that has that identity already, or this one. Without an identity it stands alone.
fn shared<T>(known: &Mutex<HashMap<String, Arc<T>>>, identity: Option<String>, new: T) -> Arc<T> {
    let Some(identity) = identity else { return Arc::new(new) };
    let mut known = known.lock();
    known.entry(identity).or_insert_with(|| Arc::new(new)).clone()
}

/// The authenticator that the config selects, where it does.
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

/// The login of an authenticator that needs one.
pub fn login<'d>(def: Option<&'d Authenticator>, cx: &EvalContext) -> Result<Option<&'d Requester>> {
    Ok(match selected(def, cx)? {
        Some(Authenticator::SessionTokenAuthenticator(def)) => Some(&*def.login_requester),
        _ => None,
    })
}

impl Auth {
    /// Whose credentials they are, where they are taken anew for each try of a request: they run out, or take turns.
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

    /// The tokens that take turns, where they do: not the request, but each of its tries is signed by one.
    pub fn rotation(&self) -> Option<&Rotation> {
        match self {
            Auth::Rotation(rotation) => Some(rotation),
            _ => None,
        }
    }

    /// What a request needs that is sent now; a token that has run out is fetched anew first.
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

    /// The vendor refused `token`: the next try gets another one; false where there is none. Several that were refused
    /// together fetch one.
    pub fn renew(&self, token: &str, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<bool> {
        match self {
            Auth::OAuth(oauth) => return oauth.renew(token, vars, exchange),
            Auth::Session(session) => session.renew(token),
            Auth::Legacy(legacy) => legacy.renew(token),
            // One that is signed is refused again, unless it ran out on its way.
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
