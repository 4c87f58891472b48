//! OAuth 2.0: access tokens that are fetched, run out and are fetched again.
//!
//! Comes in: the definition; then the variables of a request. Goes out: an access token that lives. Called by
//! [`super::Auth`]. The request for a token, its fields and what is looked for in the answer are those of airbyte-cdk's
//! `DeclarativeOauth2Authenticator`, and of its single-use variant where the manifest has a `refresh_token_updater`.
//!
//! A refresh token that changes with every use is saved before the access token that came with it is used: in the state
//! directory, under a lock that other processes of the account wait for, and in a CONTROL message where whoever reads
//! the messages keeps it. Without either the first refresh is refused, for it would be the last.

use parking_lot::{Mutex, MutexGuard};

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::jwt::Jwt;
use super::{Builder, TokenRequest, TokenTransport};
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::json::python;
use crate::base::json::scan;
use crate::base::percent;
use crate::base::store::{Locked, Store, StoredFile};
use crate::base::timefmt::{Format, isoformat, parse_iso};
use crate::manifest::model::{OAuthAuthenticator, RefreshTokenUpdater};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Template, Types, Vars, text_of};

/// Most characters of what a provider says about an error that are told.
const MAX_DETAIL: usize = 64;
/// How deep the fields of an answer are looked for.
const MAX_DEPTH: u8 = 5;

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
    /// More fields; names are templates too.
    body: Vec<(Template, Template)>,
    headers: Vec<(Template, Template)>,
    in_query: bool,
    /// How the answer tells a time, where it tells no number of seconds.
    tells_time: Option<Format>,
    first: Option<Template>,
    first_expiry: Option<Template>,
    assertion: Option<Jwt>,
    refusals: Refusals,
    updater: Option<Updater>,
    tokens: Mutex<Option<Tokens>>,
    at: Place,
}

/// The names of fields, in the request and in the answer.
#[derive(Debug)]
struct Names {
    access_token: Template,
    expires_in: Template,
    client_id: Template,
    client_secret: Template,
    refresh_token: Template,
    grant_type: Template,
}

/// Which answers mean that the refresh token itself is worth nothing.
#[derive(Debug)]
struct Refusals {
    statuses: Vec<u64>,
    key: String,
    values: Vec<String>,
}

/// Where in the config tokens stand that change with every use.
#[derive(Debug)]
struct Updater {
    answer_field: String,
    access: Vec<String>,
    refresh: Vec<String>,
    expiry: Vec<String>,
    store: Option<Store>,
    announced: bool,
}

/// What is known.
#[derive(Debug, Clone, Default)]
struct Tokens {
    access: Option<String>,
    refresh: Option<String>,
    /// Nothing: it has run out.
    expires: Option<OffsetDateTime>,
    /// Must these be kept before they are used, and are not yet?
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

    /// Two that send the same request for a token are one.
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

    /// Can a token be fetched at all?
    pub(super) fn renews(&self) -> bool {
        self.endpoint.is_some()
    }

    /// A token that lives, as far as is known.
    pub(super) fn token(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<String> {
        self.current(vars, exchange, None)
    }

    /// The vendor refused `token`: fetches another, unless another thread has done so.
    pub(super) fn renew(&self, token: &str, vars: &Vars<'_>, exchange: &dyn TokenTransport) -> Result<()> {
        self.current(vars, exchange, Some(token)).map(drop)
    }

    fn current(&self, vars: &Vars<'_>, exchange: &dyn TokenTransport, refused: Option<&str>) -> Result<String> {
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
        *known = Some(tokens);
        result
    }

    /// What the config gives to begin with.
    fn begin(&self, vars: &Vars<'_>) -> Result<Tokens> {
        if let Some(updater) = &self.updater {
            let at = |path: &[String]| {
                let found = path.iter().try_fold(&vars.cx.config, |value, key| value.get(key.as_str()));
                found.filter(|v| !v.is_null()).map(text_of).filter(|t| !t.is_empty())
            };
            let expires = match at(&updater.expiry) {
                Some(text) => Some(
                    time_of(&text)
                        .ok_or_else(|| Fault::config(format!("config `{}` is no time", updater.expiry.join("."))))?,
                ),
                None => None,
            };
            let refresh = Some(at(&updater.refresh).unwrap_or_default());
            return Ok(Tokens { access: at(&updater.access), refresh, expires, unsaved: false });
        }
        let given = |t: &Option<Template>| t.as_ref().map(|t| t.raw_text(vars)).transpose();
        let access = given(&self.first)?.filter(|t| !t.is_empty());
        let expires = match given(&self.first_expiry)?.filter(|t| !t.is_empty()) {
            Some(text) => Some(
                time_of(&text)
                    .ok_or_else(|| self.at.field("token_expiry_date", None).fault("the token's expiry is no time"))?,
            ),
            None => None,
        };
        let expires = expires.filter(|_| access.is_some());
        Ok(Tokens { expires, access, refresh: given(&self.refresh_token)?, unsaved: false })
    }

    /// Fetches a token. Tokens that change with every use are fetched by one process at a time, and saved first.
    fn replace(
        &self,
        tokens: &mut Tokens,
        serves: &dyn Fn(&Tokens) -> Option<String>,
        vars: &Vars<'_>,
        exchange: &dyn TokenTransport,
    ) -> Result<String> {
        let Some(updater) = &self.updater else {
            let (fetched, late) = self.fetch(tokens, vars, exchange)?;
            *tokens = fetched;
            return late.map_or_else(|| tokens.access.clone().ok_or_else(|| self.no_token()), Err);
        };
        let from = self.begin(vars)?;
        let file = self.file(updater, &from, vars)?;
        // Where there is no refresh token, none can be used up.
        let single_use = from.refresh.is_some_and(|token| !token.is_empty());
        if file.is_none() && single_use && !updater.announced {
            return Err(Fault::config(
                "the refresh token changes with every use, and there is nowhere to keep the next one",
            )
            .at(&self.at.location)
            .hint("name a folder in dripfeed.state_dir, or in the environment variable DRIPFEED_STATE_DIR"));
        }
        let locked = file.as_ref().map(|f| f.lock(exchange.stop())).transpose()?;
        // What could not be kept is newer than what was.
        if !tokens.unsaved
            && let Some(kept) = locked.as_ref().map(Locked::read).transpose()?.flatten()
        {
            *tokens = Tokens::kept(&kept);
            for secret in tokens.access.iter().chain(&tokens.refresh) {
                exchange.token_listener().learned(secret);
            }
            if let Some(token) = serves(tokens) {
                return Ok(token);
            }
        }
        let draft = locked.as_ref().map(Locked::draft).transpose()?;
        let mut late = None;
        // From the request on, the old refresh token may be worth nothing.
        let critical = exchange.stop().critical();
        if !tokens.unsaved {
            (*tokens, late) = self.fetch(tokens, vars, exchange)?;
            tokens.unsaved = true;
        }
        let access = tokens.access.clone().ok_or_else(|| self.no_token())?;
        let refresh = tokens.refresh.clone().unwrap_or_default();
        let expiry = tokens.expires.map(|t| isoformat(t, 'T')).unwrap_or_default();
        if let Some(draft) = draft {
            draft
                .put(&json!({"v": 1, "access_token": access, "refresh_token": refresh, "token_expiry_date": expiry}))?;
        }
        let changes = [(&*updater.access, access.clone()), (&*updater.refresh, refresh), (&*updater.expiry, expiry)];
        exchange.token_listener().rotated(&changes)?;
        tokens.unsaved = false;
        drop(critical);
        late.map_or(Ok(access), Err)
    }

    /// Where tokens are kept that descend from the config's refresh token: another login gets another file.
    fn file(&self, updater: &Updater, from: &Tokens, vars: &Vars<'_>) -> Result<Option<StoredFile>> {
        let (Some(store), Some(refresh)) = (&updater.store, from.refresh.as_ref().filter(|t| !t.is_empty())) else {
            return Ok(None);
        };
        let endpoint = self.endpoint.as_ref().map(|e| e.text(vars)).transpose()?;
        let client = self.fields(from, vars)?.get(&self.names.client_id.text(vars)?).cloned();
        let paths = [&updater.access, &updater.refresh, &updater.expiry];
        let hash = Sha256::digest(python::canonical(&json!([endpoint, client, paths, refresh])));
        let name: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Ok(Some(store.file("tokens", &name)))
    }

    fn no_token(&self) -> Fault {
        Fault::new(Kind::Auth, "the answer of the token endpoint has no access token")
            .at(&self.at.location)
            .hint("check `access_token_name`")
    }

    /// The fields of the request for a token.
    fn fields(&self, tokens: &Tokens, vars: &Vars<'_>) -> Result<Map<String, Json>> {
        let names = &self.names;
        let mut fields = Map::new();
        if let Some(assertion) = &self.assertion {
            fields.insert(names.grant_type.text(vars)?, json!("urn:ietf:params:oauth:grant-type:jwt-bearer"));
            fields.insert("assertion".into(), json!(assertion.token(vars)?));
            return Ok(fields);
        }
        fields.insert(names.grant_type.text(vars)?, json!(self.grant_type.text(vars)?));
        if !self.headers(vars)?.iter().any(|(name, _)| name == "Authorization") {
            let given = |own: &str, template: &Option<Template>| -> Result<Option<String>> {
                // Where tokens live in the config, its own client wins over the manifest's words.
                let own = vars.cx.config.get("credentials").and_then(|c| c.get(own)).filter(|_| self.updater.is_some());
                match own {
                    Some(value) => Ok(Some(text_of(value))),
                    None => template.as_ref().map(|t| t.raw_text(vars)).transpose(),
                }
            };
            let id = given("client_id", &self.client_id)?.filter(|id| !id.is_empty()).ok_or_else(|| {
                Fault::config("the OAuth client's id is empty")
                    .at(&self.at.location)
                    .hint("check `client_id` in the config")
            })?;
            fields.insert(names.client_id.text(vars)?, json!(id));
            // An empty one is sent, one that is none (or Python's `None`) is not.
            if let Some(secret) = given("client_secret", &self.client_secret)?.filter(|s| s != "None") {
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
            if let Some(value) = value.value_if_any(vars, Types::Any)?
                && !fields.contains_key(&name)
            {
                fields.insert(name, value);
            }
        }
        Ok(fields)
    }

    /// The headers of the request for a token.
    fn headers(&self, vars: &Vars<'_>) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            if let Some(value) = value.value_if_any(vars, Types::Any)? {
                headers.push((name.text(vars)?, text_of(&value)));
            }
        }
        Ok(headers)
    }

    /// Fetches a token. The second part is what is wrong with an answer whose tokens must be kept all the same.
    fn fetch(
        &self,
        tokens: &Tokens,
        vars: &Vars<'_>,
        exchange: &dyn TokenTransport,
    ) -> Result<(Tokens, Option<Fault>)> {
        let endpoint = self.endpoint.as_ref().ok_or_else(|| self.no_token())?;
        let mut url = endpoint.text(vars)?;
        if url.is_empty() {
            return Err(endpoint.at().fault("`token_refresh_endpoint` is empty"));
        }
        if let Some(secret) = &tokens.refresh {
            exchange.token_listener().learned(secret);
        }
        let form = form(&self.fields(tokens, vars)?);
        let headers = self.headers(vars)?;
        let body = if self.in_query {
            url = format!("{url}{}{form}", if url.contains('?') { '&' } else { '?' });
            None
        } else {
            Some(("application/x-www-form-urlencoded", form.into_bytes()))
        };
        let now = vars.cx.moment();
        let (status, answer) =
            exchange.send(TokenRequest { method: "POST", url, headers, body, ..TokenRequest::default() })?;
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

    /// When a token runs out, from what the answer says.
    fn expiry(&self, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime> {
        // The reference reads any date and ignores the format.
        let at = if let Some(format) = &self.tells_time {
            time_of(text).or_else(|| format.parse(text))
        } else {
            #[allow(clippy::cast_possible_truncation)]
            let seconds = text.trim().parse::<f64>().ok().filter(|s| s.is_finite()).map(|s| s as i64);
            seconds.map(|s| now.saturating_add(Duration::seconds(s)))
        };
        at.ok_or_else(|| {
            Fault::data("the token's lifetime in the answer of the token endpoint cannot be read")
                .at(&self.at.location)
                .hint("check `expires_in_name` and `token_expiry_date_format`")
        })
    }
}

impl Refusals {
    fn of(def: &OAuthAuthenticator) -> Result<Refusals> {
        let own = Refusals::from_parts(
            def.refresh_token_error_status_codes.as_ref(),
            def.refresh_token_error_key.as_ref(),
            def.refresh_token_error_values.as_ref(),
        );
        let older = def.refresh_token_updater.as_ref().and_then(|u| {
            Refusals::from_parts(
                u.refresh_token_error_status_codes.as_ref(),
                u.refresh_token_error_key.as_ref(),
                u.refresh_token_error_values.as_ref(),
            )
        });
        match (own, older) {
            (Some(_), Some(_)) => Err(def
                .at
                .fault("`refresh_token_error_…` can be given here or in `refresh_token_updater`, not in both")),
            (own, older) => Ok(own.or(older).unwrap_or_else(|| Refusals {
                statuses: vec![400],
                key: "error".into(),
                values: vec!["invalid_grant".into(), "invalid_permissions".into()],
            })),
        }
    }

    fn from_parts(statuses: Option<&Vec<u64>>, key: Option<&String>, values: Option<&Vec<String>>) -> Option<Refusals> {
        let parts = Refusals {
            statuses: statuses.cloned().unwrap_or_default(),
            key: key.cloned().unwrap_or_default(),
            values: values.cloned().unwrap_or_default(),
        };
        (!parts.statuses.is_empty() || !parts.key.is_empty() || !parts.values.is_empty()).then_some(parts)
    }

    /// The fault for an error of the token endpoint. Of the answer only the code of RFC 6749 §5.2 is told, and the code that
    /// its description begins with: prose may quote what was sent.
    fn fault(&self, status: u16, answer: &Json) -> Fault {
        let code = answer["error"].as_str().map(str::trim).filter(|c| !c.is_empty());
        let leading = answer["error_description"].as_str().and_then(leading_code);
        let detail = [code, leading].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let detail = match detail.char_indices().nth(MAX_DETAIL) {
            Some((end, _)) => format!("{}...", &detail[..end]),
            None => detail,
        };
        let told = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        let text = format!("the token endpoint refused the request for a token: HTTP {status}{told}");
        let fault = match status {
            400 | 401 | 403 => Fault::new(Kind::Auth, text)
                .hint("check the client and the refresh token in the config, or log in again"),
            _ => Fault::data(text),
        };
        let listed = self.statuses.contains(&status.into())
            && answer[&self.key].as_str().is_some_and(|v| self.values.iter().any(|known| known == v));
        if !listed {
            return fault;
        }
        let mut told = "Refresh token was rejected by the OAuth provider (invalid, expired, or already used). \
                        Re-authenticate this source's credentials in its connection settings."
            .to_owned();
        if !detail.is_empty() {
            told += &format!(" Provider error: {detail}");
        }
        Fault { kind: Kind::Auth, ..fault }.airbyte_message(told, Failure::Config)
    }
}

/// The code that a provider's description begins with, such as `AADSTS50173`: three letters or more, then four digits or
/// more.
fn leading_code(text: &str) -> Option<&str> {
    let text = text.trim();
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let digits = text[letters..].bytes().take_while(u8::is_ascii_digit).count();
    let code = &text[..letters + digits];
    let ends = text[code.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '_');
    (letters >= 3 && digits >= 4 && ends).then_some(code)
}

impl Updater {
    fn build(def: &RefreshTokenUpdater, builder: &Builder) -> Updater {
        let path = |given: &Option<Vec<String>>, field: &str| {
            given.clone().unwrap_or_else(|| vec!["credentials".into(), field.into()])
        };
        Updater {
            answer_field: def.refresh_token_name.clone().unwrap_or_else(|| "refresh_token".into()),
            access: path(&def.access_token_config_path, "access_token"),
            refresh: path(&def.refresh_token_config_path, "refresh_token"),
            expiry: path(&def.token_expiry_date_config_path, "token_expiry_date"),
            store: builder.store.clone(),
            announced: builder.announced,
        }
    }
}

impl Tokens {
    /// The tokens of a file in the state directory.
    fn kept(file: &Json) -> Tokens {
        let text = |key: &str| file[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        Tokens {
            access: text("access_token"),
            refresh: text("refresh_token"),
            expires: text("token_expiry_date").and_then(|t| time_of(&t)),
            unsaved: false,
        }
    }
}

/// A form as `requests` writes it: a list gives its name for each value.
fn form(fields: &Map<String, Json>) -> String {
    let mut parts = Vec::new();
    for (name, value) in fields {
        let name = percent::quote_plus(name);
        match value {
            Json::Array(items) => {
                parts.extend(items.iter().map(|i| format!("{name}={}", percent::quote_plus(&text_of(i)))));
            }
            // Of an object Python's iteration gives the keys.
            Json::Object(map) => parts.extend(map.keys().map(|key| format!("{name}={}", percent::quote_plus(key)))),
            value => parts.push(format!("{name}={}", percent::quote_plus(&text_of(value)))),
        }
    }
    parts.join("&")
}

/// The first value of that name, depth first.
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

/// A time as tokens have it: seconds since 1970, a date, or ISO 8601; UTC where it does not say.
pub(super) fn time_of(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit()) {
        return OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
    }
    parse_iso(text)
}
