//! Redirects, and the hosts that a request may reach.
//!
//! Input: a request. Output: the response at the end of its redirects. Called by [`super::attempts`]. Credentials are
//! sent to the manifest's own origin and to hosts that the config allows, and to no other.

use super::address::{flaw, join, origin_of};
use super::request::PreparedRequest;
use super::transport::Trouble;
use super::{Fetcher, Reply, SendRequest, shown};
use crate::base::fault::{Fault, Result};

/// The maximum number of redirects in a row.
const MAX_REDIRECTS: usize = 10;

impl Fetcher {
    /// One exchange, including redirects.
    pub(super) fn followed(&self, ask: &SendRequest<'_>) -> std::result::Result<Reply, Trouble> {
        let mut next = ask.request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.paced(ask, &mut next)?;
            let location = reply.header("location").filter(|_| matches!(reply.status, 301 | 302 | 303 | 307 | 308));
            let Some(location) = location else { return Ok(reply) };
            redirect(&mut next, reply.status, location);
            if next.free {
                continue;
            }
            let Err(fault) = self.check_host(&next.url, &next.origin) else { continue };
            // A file may be on another host; that host receives only what the vendor's URL contains.
            if ask.into.is_some() && next.method == "GET" && origin_of(&next.url).is_some() {
                next.headers.clear();
                next.body = None;
                next.free = true;
                continue;
            }
            let message = format!("a redirect was not followed: {}", fault.message);
            return Err(Trouble::Final(Fault { message, ..fault }));
        }
        let text = format!("more than {MAX_REDIRECTS} redirects in a row: {}", shown(ask.request));
        Err(Trouble::Final(Fault::data(text)))
    }

    /// Refuses a URL that must not receive the credentials.
    pub(super) fn check_host(&self, url: &str, origin: &str) -> Result<()> {
        let Some(target) = origin_of(url) else {
            return Err(Fault::data(format!("the next request's URL is not valid: {}", flaw(url))));
        };
        let host = target.split_once("://").map_or("", |(_, host)| host);
        if target == origin || self.limits.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Fault::data(format!(
            "a URL leads to {target}, not to the manifest's host ({origin}): the credentials would go to another host"
        ))
        .hint(format!("if this is right, add \"{host}\" to dripfeed.allowed_hosts in the config")))
    }
}

/// Changes a request to the one that a redirect asks for.
fn redirect(request: &mut PreparedRequest, status: u16, location: &str) {
    request.url = redirected(&request.url, location);
    // As in browsers and `requests`: a POST continues as a GET without a body.
    if status == 303 || matches!(status, 301 | 302) && request.method == "POST" {
        request.method = "GET".into();
        request.body = None;
    }
}

/// The target of a redirect from `url`: relative to its folder, or to the root of its host.
fn redirected(url: &str, location: &str) -> String {
    let head = url.split(['?', '#']).next().unwrap_or(url);
    let start = head.find("://").map_or(0, |i| i + 3);
    let folder = head[start..].rfind('/').map_or_else(|| format!("{head}/"), |i| head[..=start + i].to_owned());
    join(&folder, location)
}
