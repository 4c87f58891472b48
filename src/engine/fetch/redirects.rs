//! Redirects, and the hosts to which a request may go.
//!
//! Input: a request to send. Output: the answer at the end of its redirects. Called by [`super::attempts`].
//! Credentials leave for the manifest's own origin and for the hosts that the config allows, and for no other.

use super::address::{flaw, join, origin_of};
use super::request::PreparedRequest;
use super::transport::Trouble;
use super::{Fetcher, Reply, SendRequest, shown};
use crate::base::fault::{Fault, Result};

/// Redirects that are followed in a row.
const MAX_REDIRECTS: usize = 10;

impl Fetcher {
    /// One exchange, redirects included.
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
            // A file may stand at another host, which gets nothing but the vendor's own words.
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

    /// Refuses an address at which the credentials have no business.
    pub(super) fn check_host(&self, url: &str, origin: &str) -> Result<()> {
        let Some(target) = origin_of(url) else {
            return Err(Fault::data(format!("the address of the next request is not a URL: {}", flaw(url))));
        };
        let host = target.split_once("://").map_or("", |(_, host)| host);
        if target == origin || self.limits.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Fault::data(format!(
            "an address at {target} is not the manifest's own ({origin}): the credentials would go to another host"
        ))
        .hint(format!("if this is right, add \"{host}\" to dripfeed.allowed_hosts in the config")))
    }
}

/// Turns a request into the one that a redirect asks for.
fn redirect(request: &mut PreparedRequest, status: u16, location: &str) {
    request.url = redirected(&request.url, location);
    // As browsers and `requests` do: what was a POST goes on as a GET without a body.
    if status == 303 || matches!(status, 301 | 302) && request.method == "POST" {
        request.method = "GET".into();
        request.body = None;
    }
}

/// Where a redirect from `url` leads: relative to its folder, or from the root of its host.
fn redirected(url: &str, location: &str) -> String {
    let head = url.split(['?', '#']).next().unwrap_or(url);
    let start = head.find("://").map_or(0, |i| i + 3);
    let folder = head[start..].rfind('/').map_or_else(|| format!("{head}/"), |i| head[..=start + i].to_owned());
    join(&folder, location)
}
