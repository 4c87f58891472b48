//! Who asks: credentials into requests.
//!
//! Comes in: an authenticator's definition; then, for each request, the variables. Goes out: options with
//! the credentials. Called by `run`. Credentials are sent as written: the reference reads one that looks like a
//! number as a number (`1e5` becomes `100000.0`), which no vendor accepts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::fault::Result;
use crate::manifest::model::Authenticator;
use crate::plan::{Ground, Inject, Options, Template, Vars};

/// An authenticator, compiled.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody.
    None,
    /// A key under a name.
    Key {
        /// The key.
        token: Template,
        /// Where it goes.
        into: KeyPlace,
    },
    /// A bearer token.
    Bearer(Template),
    /// User and password.
    Basic(Template, Option<Template>),
}

/// Where an API key goes.
#[derive(Debug, Clone)]
pub enum KeyPlace {
    /// A header.
    Header(Template),
    /// Anywhere in the request.
    Option(Inject),
}

/// Compiles an authenticator.
pub fn build(def: Option<&Authenticator>, ground: &Ground) -> Result<Auth> {
    Ok(match def {
        None | Some(Authenticator::NoAuth(_)) => Auth::None,
        Some(Authenticator::BearerAuthenticator(def)) => Auth::Bearer(Template::compile(&def.api_token, &[])?),
        Some(Authenticator::BasicHttpAuthenticator(def)) => Auth::Basic(
            Template::compile(&def.username, &[])?,
            def.password.as_ref().map(|p| Template::compile(p, &[])).transpose()?,
        ),
        Some(Authenticator::ApiKeyAuthenticator(def)) => {
            let into = match (&def.inject_into, &def.header) {
                (Some(option), None) => KeyPlace::Option(Inject::build(option, ground)?),
                (None, Some(header)) => KeyPlace::Header(Template::compile(header, &[])?),
                (Some(_), Some(_)) => return Err(def.at.fault("only one of `inject_into` and `header` can be given")),
                (None, None) => return Err(def.at.fault("`inject_into` is missing")),
            };
            let token = def.api_token.as_ref().ok_or_else(|| def.at.fault("`api_token` is missing"))?;
            Auth::Key { token: Template::compile(token, &[])?, into }
        }
    })
}

impl Auth {
    /// The options that carry the credentials.
    pub fn options(&self, vars: &Vars<'_>) -> Result<Options> {
        let mut options = Options::default();
        let mut authorization = |value: String| {
            options.headers.insert("Authorization".into(), Json::String(value));
        };
        match self {
            Auth::None => {}
            Auth::Bearer(token) => authorization(format!("Bearer {}", token.raw_text(vars)?)),
            Auth::Basic(user, password) => {
                let password = password.as_ref().map_or(Ok(String::new()), |p| p.raw_text(vars))?;
                let pair = format!("{}:{password}", user.raw_text(vars)?);
                authorization(format!("Basic {}", STANDARD.encode(pair)));
            }
            Auth::Key { token, into } => {
                let token = Json::String(token.raw_text(vars)?);
                match into {
                    KeyPlace::Header(name) => drop(options.headers.insert(name.text(vars)?, token)),
                    KeyPlace::Option(inject) => inject.put(token, &mut options),
                }
            }
        }
        Ok(options)
    }
}
