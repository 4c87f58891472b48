//! Which addresses a run connects to.
//!
//! Input: the address of a host, as it was looked up for a connection. Output: the same, or a refusal. Called by ureq,
//! for the agents of [`super`] that have no proxy: a proxy looks up the host itself. The address that is connected to
//! is checked, so that a name that leads elsewhere at its second lookup gains nothing.

use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How a refusal begins.
const REFUSED: &str = "it leads to a private address";

/// Whether an address may be private: of this machine, of its network, or of the link.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// It may: the user wrote the host. The flag is raised if it is.
    May(Arc<AtomicBool>),
    /// Only for these hosts, with or without a port.
    Listed(Vec<String>),
    /// Only for these hosts, or where the flag is raised: a vendor on a private network names hosts there.
    OfData(Vec<String>, Arc<AtomicBool>),
}

/// Looks up hosts, and leaves out the addresses that the rule does not allow.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    pub(super) rule: Rule,
    /// The address of a server in this process, which may always be reached.
    pub(super) own_server: Option<String>,
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        if !found.iter().any(|address| is_private(address.ip())) {
            return Ok(found);
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let own = self.own_server.as_deref().and_then(|own| own.split_once("://"));
        let listed = |hosts: &[String]| {
            own.is_some_and(|(_, own)| own == authority)
                || hosts.iter().any(|host| {
                    host.eq_ignore_ascii_case(authority) || uri.host().is_some_and(|own| host.eq_ignore_ascii_case(own))
                })
        };
        let allowed = match &self.rule {
            Rule::May(seen) => {
                seen.store(true, Ordering::Relaxed);
                true
            }
            Rule::Listed(hosts) => listed(hosts),
            Rule::OfData(hosts, seen) => seen.load(Ordering::Relaxed) || listed(hosts),
        };
        if allowed {
            return Ok(found);
        }
        let mut public = self.empty();
        found.iter().filter(|address| !is_private(address.ip())).for_each(|address| public.push(*address));
        if public.is_empty() {
            return Err(IoError::new(ErrorKind::PermissionDenied, REFUSED).into());
        }
        Ok(public)
    }
}

/// Was the connection refused by a rule?
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Io(e) if e.kind() == ErrorKind::PermissionDenied && e.to_string() == REFUSED)
}

/// Is it no address of the public internet (IANA's special-purpose registries)?
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_private_v4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let embedded = || {
                let [[a, b], [c, d]] = [g.to_be_bytes(), h.to_be_bytes()];
                is_private_v4(Ipv4Addr::new(a, b, c, d))
            };
            let is_mapped = (a, b, c, d, e, f) == (0, 0, 0, 0, 0, 0xffff);
            let is_nat64 = (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0);
            ip == Ipv6Addr::LOCALHOST
                || ip == Ipv6Addr::UNSPECIFIED
                || ip.is_multicast()
                || a & 0xfe00 == 0xfc00
                || a & 0xffc0 == 0xfe80
                || (is_mapped || is_nat64) && embedded()
        }
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || a == 0
        || a >= 240
        || a == 100 && b & 0xc0 == 64
        || (a, b, c) == (192, 0, 0)
        || a == 198 && b & 0xfe == 18
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::is_private;

    #[test]
    fn private_addresses_are_known_in_each_form() {
        let private = "127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 0.0.0.0 \
                       100.64.0.1 192.0.0.8 198.18.0.1 224.0.0.1 255.255.255.255 ::1 :: fe80::1 fd00::1 fc00::1 \
                       ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::169.254.169.254 ff02::1";
        for text in private.split_whitespace() {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        let public =
            "1.1.1.1 172.32.0.1 100.128.0.1 192.0.1.1 198.20.0.1 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::1.1.1.1";
        for text in public.split_whitespace() {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
    }
}
