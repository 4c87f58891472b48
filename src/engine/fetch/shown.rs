//! Requests in readable form, for messages.
//!
//! Input: a request. Output: method and URL, with or without its query parameters. Called for faults and log lines.
//! The log masks known secrets; here what is named like a credential is masked too, as a manifest without a
//! specification does not say which values of its config are secrets.

use super::request::PreparedRequest;
use crate::base::config::secret::names_credential;
use crate::base::percent;

/// The longest value that is shown whole, in characters.
const LONGEST: usize = 80;

/// Method and URL without the query.
pub fn shown(request: &PreparedRequest) -> String {
    let address = request.url.split(['?', '#']).next().unwrap_or(&request.url);
    let address = match (address.split_once("://"), address.split_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !rest.is_empty() => format!("{scheme}://{rest}"),
        _ => address.to_owned(),
    };
    format!("{} {address}", request.method)
}

/// Method and URL with the query parameters, decoded: `GET https://api.example.com/tasks?limit=100&project=a b`.
pub fn shown_with_query(request: &PreparedRequest) -> String {
    let parameters = parameters(request).into_iter().map(|[name, value]| {
        let cut: String = value.chars().take(LONGEST).collect();
        let more = if cut.len() < value.len() { "…" } else { "" };
        format!("{name}={cut}{more}")
    });
    let query = parameters.collect::<Vec<_>>().join("&");
    if query.is_empty() { shown(request) } else { format!("{}?{query}", shown(request)) }
}

/// The query parameters of a request, decoded, in order; those named like credentials are masked.
pub fn parameters(request: &PreparedRequest) -> Vec<[String; 2]> {
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let parts = query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let [name, value] = [name, value].map(|text| percent::decode(&text.replace('+', " ")));
        // A plain `token` is more often that of a page; one of the config is known as a secret anyway.
        let is_credential = names_credential(&name) && name != "token";
        let value = if is_credential { "****".to_owned() } else { value };
        [name, value]
    });
    parts.collect()
}
