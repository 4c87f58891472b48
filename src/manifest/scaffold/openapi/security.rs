//! Takes over how a document authenticates requests, and the address of its API.
//!
//! Input: the document. Output: authenticator, address and their config keys in a [`SourcePlan`]. Called by [`super`].

use serde_json::Value as Json;

use super::super::config::ConfigKey;
use super::super::plan::{AuthPlan, DECIDE, SourcePlan};
use super::document::{Description, Operation};
use super::names::snake;
use super::schema::short;

/// Words in an address that stand for a customer's own.
const PLACEHOLDERS: [&str; 6] = ["your", "example", "mycompany", "localhost", "<", "subdomain"];

/// A way to authenticate.
struct Scheme {
    name: String,
    auth: AuthPlan,
    notes: Vec<String>,
}

impl Scheme {
    /// The lower, the easier to set up.
    fn rank(&self) -> u8 {
        match &self.auth {
            AuthPlan::Bearer => 0,
            AuthPlan::Key { .. } => 1,
            AuthPlan::Basic => 2,
            AuthPlan::OAuth { refreshes: false, .. } => 3,
            AuthPlan::OAuth { refreshes: true, .. } => 4,
            AuthPlan::None => 5,
        }
    }
}

/// Sets the authenticator.
pub(super) fn authenticate(document: &Description, operations: &[Operation<'_>], plan: &mut SourcePlan) {
    let schemes = if document.is_swagger() {
        document.root("securityDefinitions")
    } else {
        &document.root("components")["securitySchemes"]
    };
    let ways = requirements(document, operations, schemes);
    let mut ways: Vec<Vec<Scheme>> = ways.iter().map(|names| understood(document, schemes, names)).collect();
    ways.retain(|way| !way.is_empty());
    // All parts of a way are needed, so its hardest part counts.
    ways.sort_by_key(|way| (way.len() > 1, way.iter().map(Scheme::rank).max()));
    let mut ways = ways.into_iter();
    let Some(way) = ways.next() else {
        let note = "the document names no way to authenticate. `dripfeed init --auth bearer` writes one.";
        plan.auth_notes = vec![format!("{DECIDE}{note}")];
        return;
    };
    let others: Vec<String> = ways.flatten().map(|scheme| scheme.name).filter(|name| *name != way[0].name).collect();
    for (number, scheme) in way.into_iter().enumerate() {
        if number == 0 {
            plan.auth_notes.extend(scheme.notes);
            plan.auth = scheme.auth;
        } else {
            add_second(scheme, plan);
        }
    }
    if !others.is_empty() {
        plan.auth_notes.push(format!("The document also allows: {}.", others.join(", ")));
    }
}

/// A further key that each request needs.
fn add_second(scheme: Scheme, plan: &mut SourcePlan) {
    let AuthPlan::Key { in_header, name } = scheme.auth else {
        plan.auth_notes.push(format!("{DECIDE}each request also needs `{}`.", scheme.name));
        return;
    };
    let key = snake(&name);
    let key =
        if plan.keys.iter().any(|known| known.name == key) || key == "api_key" { format!("{key}_2") } else { key };
    let value = (name.clone(), format!("{{{{ config['{key}'] }}}}"));
    if in_header {
        plan.headers.push(value);
    } else {
        plan.parameters.push(value);
    }
    plan.keys.push(ConfigKey::secret(&key, &name, &format!("A second credential, sent as `{name}`.")));
}

/// The names of schemes that authenticate together, for each way.
fn requirements(document: &Description, operations: &[Operation<'_>], schemes: &Json) -> Vec<Vec<String>> {
    let of_operation = operations.iter().find_map(|operation| operation.written["security"].as_array());
    let written = of_operation.or(document.root("security").as_array());
    match written {
        Some(ways) => {
            let names = |way: &Json| way.as_object().map(|way| way.keys().cloned().collect()).unwrap_or_default();
            ways.iter().map(names).collect()
        }
        None => schemes.as_object().into_iter().flatten().map(|(name, _)| vec![name.clone()]).collect(),
    }
}

fn understood(document: &Description, schemes: &Json, names: &[String]) -> Vec<Scheme> {
    let mut way: Vec<Scheme> = names
        .iter()
        .filter_map(|name| {
            let (auth, notes) = scheme(document.resolved(schemes.get(name)?))?;
            Some(Scheme { name: name.clone(), auth, notes })
        })
        .collect();
    way.sort_by_key(Scheme::rank);
    way
}

/// The authenticator of a scheme, and comments on it.
fn scheme(scheme: &Json) -> Option<(AuthPlan, Vec<String>)> {
    let text = |key: &str| scheme[key].as_str().unwrap_or_default();
    let quoted = short(text("description")).map_or_else(String::new, |text| format!(" It says: {text}"));
    match (text("type"), text("scheme").to_ascii_lowercase().as_str()) {
        ("http", "bearer") => Some((AuthPlan::Bearer, Vec::new())),
        ("http", "basic") | ("basic", _) => Some((AuthPlan::Basic, Vec::new())),
        ("apiKey", _) => {
            let name = text("name").to_owned();
            let in_header = text("in") != "query";
            let mut notes = Vec::new();
            if name.eq_ignore_ascii_case("authorization") {
                let note = "does the key need a word in front, as in `Bearer KEY`?";
                notes.push(format!("{DECIDE}{note}{quoted}"));
            }
            if text("in") == "cookie" {
                return Some((
                    AuthPlan::None,
                    vec![format!("{DECIDE}the document wants the cookie `{name}`.{quoted}")],
                ));
            }
            Some((AuthPlan::Key { in_header, name }, notes))
        }
        ("oauth2", _) => Some(oauth(scheme)),
        ("http" | "openIdConnect", _) => {
            let note = format!(
                "{DECIDE}the document wants `{}{}`; a bearer token is assumed.{quoted}",
                text("type"),
                text("scheme")
            );
            Some((AuthPlan::Bearer, vec![note]))
        }
        _ => None,
    }
}

fn oauth(scheme: &Json) -> (AuthPlan, Vec<String>) {
    // Swagger 2 has one flow, and the later versions several by name.
    let flow = |name: &str, older: &str| {
        let newer = scheme["flows"].get(name);
        newer.or((scheme["flow"] == older).then_some(scheme))
    };
    let url = |flow: &Json, key: &str| flow[key].as_str().filter(|url| url.contains("://")).map(str::to_owned);
    if let Some(token_url) = flow("clientCredentials", "application").and_then(|flow| url(flow, "tokenUrl")) {
        return (AuthPlan::OAuth { token_url, refreshes: false }, Vec::new());
    }
    if let Some(flow) = flow("authorizationCode", "accessCode")
        && let Some(token_url) = url(flow, "refreshUrl").or_else(|| url(flow, "tokenUrl"))
    {
        let note = "does each refresh void the refresh token before it? Then add `refresh_token_updater: {}`.";
        return (AuthPlan::OAuth { token_url, refreshes: true }, vec![format!("{DECIDE}{note}")]);
    }
    let note = "the document wants OAuth 2.0 and gives no address for tokens; an access token is assumed.";
    (AuthPlan::Bearer, vec![format!("{DECIDE}{note}")])
}

/// Sets the base of all URLs.
pub(super) fn address(document: &Description, plan: &mut SourcePlan) {
    let what = "The address that all paths begin with.";
    let written = if document.is_swagger() { swagger_address(document) } else { server(document) };
    let url = written.map(|url| url.trim_end_matches('/').to_owned()).filter(|url| url.contains("://"));
    let Some(url) = url else {
        plan.url_notes = vec![format!("{DECIDE}the document gives no whole address; the config holds it.")];
        "{{ config['url'] }}".clone_into(&mut plan.url_base);
        plan.keys.push(ConfigKey::required("url", "Address", what));
        return;
    };
    if url.contains('{') {
        plan.url_base = with_variables(document, &url, plan);
        return;
    }
    let lower = url.to_ascii_lowercase();
    if PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
        "{{ config['url'] }}".clone_into(&mut plan.url_base);
        plan.keys.push(ConfigKey::required("url", "Address", what).like(Some(&url)));
        return;
    }
    plan.url_base = format!("{{{{ config.get('url') or '{url}' }}}}");
    plan.keys.push(ConfigKey::required("url", "Address", what).or(&url));
}

fn server(document: &Description) -> Option<String> {
    document.root("servers")[0]["url"].as_str().map(str::to_owned)
}

/// An address of Swagger 2 is made of three parts.
fn swagger_address(document: &Description) -> Option<String> {
    let host = document.root("host").as_str()?;
    let schemes = document.root("schemes").as_array().into_iter().flatten().filter_map(Json::as_str);
    let scheme = schemes.min_by_key(|scheme| *scheme != "https").unwrap_or("https");
    let base = document.root("basePath").as_str().unwrap_or_default();
    Some(format!("{scheme}://{host}{base}"))
}

/// An address with variables: each is a key of the config.
fn with_variables(document: &Description, url: &str, plan: &mut SourcePlan) -> String {
    let variables = &document.root("servers")[0]["variables"];
    let mut out = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        rest = after;
        out += before;
        let variable = &variables[name];
        let key = snake(name);
        let default = variable["default"].as_str().unwrap_or_default();
        let values: Vec<&str> = variable["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let lower = default.to_ascii_lowercase();
        let is_placeholder = default.is_empty() || PLACEHOLDERS.iter().any(|word| lower.contains(word));
        let mut what = short(variable["description"].as_str().unwrap_or_default())
            .unwrap_or_else(|| format!("A part of the address: `{url}`."));
        if !values.is_empty() {
            what += &format!(" One of {}.", values.join(", "));
        }
        let config_key = ConfigKey::required(&key, name, &what);
        if is_placeholder {
            out += &format!("{{{{ config['{key}'] }}}}");
            plan.keys.push(config_key.like(Some(default).filter(|example| !example.is_empty())));
        } else {
            out += &format!("{{{{ config.get('{key}') or '{default}' }}}}");
            plan.keys.push(config_key.or(default));
        }
    }
    out + rest
}
