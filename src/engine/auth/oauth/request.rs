//! The request for an access token, and the tokens in its response.
//!
//! Input: the current tokens, and the variables of a request. Output: the tokens in the response. Called by [`super`]
//! and [`super::single_use`].

use serde_json::{Map, Value as Json, json};
use time::{Duration, OffsetDateTime};

use super::{OAuth, Tokens, time_of};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan;
use crate::base::percent;
use crate::engine::auth::{TokenRequest, TokenTransport};
use crate::manifest::template::{Template, Types, Vars, text_of};

/// The maximum depth at which response fields are searched.
const MAX_DEPTH: u8 = 5;

impl OAuth {
    /// The fields of the token request.
    pub(super) fn fields(&self, tokens: &Tokens, vars: &Vars<'_>) -> Result<Map<String, Json>> {
        let names = &self.names;
        let mut fields = Map::new();
        if let Some(assertion) = &self.assertion {
            fields.insert(names.grant_type.text(vars)?, json!("urn:ietf:params:oauth:grant-type:jwt-bearer"));
            fields.insert("assertion".into(), json!(assertion.token(vars)?));
            return Ok(fields);
        }
        fields.insert(names.grant_type.text(vars)?, json!(self.grant_type.text(vars)?));
        if !self.headers(vars)?.iter().any(|(name, _)| name == "Authorization") {
            let value_of = |own: &str, template: &Option<Template>| -> Result<Option<String>> {
                // If tokens are stored in the config, its client overrides the manifest's.
                let own = vars.cx.config.get("credentials").and_then(|c| c.get(own)).filter(|_| self.updater.is_some());
                match own {
                    Some(value) => Ok(Some(text_of(value))),
                    None => template.as_ref().map(|t| t.raw_text(vars)).transpose(),
                }
            };
            let id = value_of("client_id", &self.client_id)?.filter(|id| !id.is_empty()).ok_or_else(|| {
                Fault::config("the OAuth client's id is empty")
                    .at(&self.at.location)
                    .hint("check `client_id` in the config")
            })?;
            fields.insert(names.client_id.text(vars)?, json!(id));
            // An empty secret is sent; a missing one (or Python's `None`) is not.
            if let Some(secret) = value_of("client_secret", &self.client_secret)?.filter(|s| s != "None") {
                fields.insert(names.client_secret.text(vars)?, json!(secret));
            }
        }
        if let Some(refresh) = &tokens.refresh {
            let name = match &self.updater {
                Some(updater) => updater.answer_field.clone(),
                None => names.refresh_token.text(vars)?,
            };
            fields.insert(name, json!(refresh));
        }
        if !self.scopes.is_empty() {
            fields.insert("scopes".into(), json!(self.scopes));
        }
        for (name, value) in &self.body {
            let name = name.text(vars)?;
            if let Some(value) = value.value_if_any(vars, Types::Text)?
                && !fields.contains_key(&name)
            {
                fields.insert(name, value);
            }
        }
        Ok(fields)
    }

    /// The headers of the token request.
    pub(super) fn headers(&self, vars: &Vars<'_>) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            if let Some(value) = value.value_if_any(vars, Types::Text)? {
                headers.push((name.text(vars)?, text_of(&value)));
            }
        }
        Ok(headers)
    }

    /// Fetches a token. The second part is a fault of a response whose tokens must be saved nonetheless.
    pub(super) fn fetch(
        &self,
        tokens: &Tokens,
        vars: &Vars<'_>,
        exchange: &dyn TokenTransport,
    ) -> Result<(Tokens, Option<Fault>)> {
        let endpoint = self.endpoint.as_ref().ok_or_else(|| self.no_token())?;
        let url = endpoint.text(vars)?;
        if url.is_empty() {
            return Err(endpoint.at().fault("`token_refresh_endpoint` is empty"));
        }
        if let Some(secret) = &tokens.refresh {
            exchange.token_listener().learned(secret);
        }
        let now = vars.cx.moment();
        // Each attempt has its own assertion.
        let (status, answer) = exchange.send(&|| {
            let form = form(&self.fields(tokens, vars)?);
            let (mut url, headers) = (url.clone(), self.headers(vars)?);
            let body = if self.in_query {
                url = format!("{url}{}{form}", if url.contains('?') { '&' } else { '?' });
                None
            } else {
                Some(("application/x-www-form-urlencoded", form.into_bytes()))
            };
            Ok(TokenRequest { method: "POST", url, headers, body, ..TokenRequest::default() })
        })?;
        let answer: Json = scan::json(&answer).unwrap_or_default();
        if status >= 400 {
            return Err(self.refusals.fault(status, &answer).at(&self.at.location));
        }
        let access = find(&answer, &self.names.access_token.text(vars)?, 0).map(text_of).filter(|t| !t.is_empty());
        let access = access.ok_or_else(|| self.no_token())?;
        exchange.token_listener().learned(&access);
        let refresh_name = match &self.updater {
            Some(updater) => updater.answer_field.clone(),
            None => self.names.refresh_token.text(vars)?,
        };
        let refresh = find(&answer, &refresh_name, 0).map(text_of).filter(|t| !t.is_empty());
        if let Some(secret) = &refresh {
            exchange.token_listener().learned(secret);
        }
        let expires = match find(&answer, &self.names.expires_in.text(vars)?, 0) {
            Some(value) => self.expiry(&text_of(value), now),
            None => Ok(tokens.expires.filter(|at| now <= *at).unwrap_or(now + Duration::hours(1))),
        };
        let refresh = refresh.or_else(|| tokens.refresh.clone());
        let (expires, late) = expires.map_or_else(|late| (None, Some(late)), |at| (Some(at), None));
        Ok((Tokens { access: Some(access), refresh, expires, unsaved: false }, late))
    }

    /// When a token expires, from the response.
    fn expiry(&self, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime> {
        // The reference parses any date and ignores the format.
        let at = if let Some(format) = &self.tells_time {
            time_of(text).or_else(|| format.parse(text))
        } else {
            #[allow(clippy::cast_possible_truncation)]
            let seconds = text.trim().parse::<f64>().ok().filter(|s| s.is_finite()).map(|s| s as i64);
            seconds.map(|s| now.saturating_add(Duration::seconds(s)))
        };
        at.ok_or_else(|| {
            Fault::data("cannot read the token's lifetime in the token endpoint's response")
                .at(&self.at.location)
                .hint("check `expires_in_name` and `token_expiry_date_format`")
        })
    }
}

/// A form as `requests` encodes it: a list repeats its name for each value.
fn form(fields: &Map<String, Json>) -> String {
    let mut parts = Vec::new();
    for (name, value) in fields {
        let name = percent::quote_plus(name);
        match value {
            Json::Array(items) => {
                parts.extend(items.iter().map(|i| format!("{name}={}", percent::quote_plus(&text_of(i)))));
            }
            // Iterating an object in Python yields its keys.
            Json::Object(map) => parts.extend(map.keys().map(|key| format!("{name}={}", percent::quote_plus(key)))),
            value => parts.push(format!("{name}={}", percent::quote_plus(&text_of(value)))),
        }
    }
    parts.join("&")
}

/// The first value with that name, depth first.
fn find<'a>(json: &'a Json, name: &str, depth: u8) -> Option<&'a Json> {
    if depth > MAX_DEPTH {
        return None;
    }
    match json {
        Json::Object(map) => match map.get(name) {
            Some(value) => Some(value).filter(|v| !v.is_null()),
            None => map.values().find_map(|value| find(value, name, depth + 1)),
        },
        Json::Array(items) => items.iter().find_map(|value| find(value, name, depth + 1)),
        _ => None,
    }
}
