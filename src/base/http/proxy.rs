//! Which proxy a request goes through, as curl decides it.
//!
//! Input: the variables of the environment. Output: a proxy for each scheme, and the hosts that are reached without
//! one. Called by [`super`]. `http_proxy` counts in lower case alone, as for curl: in a CGI process the variable
//! `HTTP_PROXY` is a header of whoever calls it.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use super::unusable;
use crate::base::fault::Result;

/// The environment's proxies.
pub(super) struct Proxies {
    /// The proxy of `http://` URLs.
    pub(super) http: Result<Option<Proxy>>,
    /// The proxy of `https://` URLs.
    pub(super) https: Result<Option<Proxy>>,
    without: Vec<Entry>,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// `*`: every host.
    Every,
    /// A host and those below it, in lower case; with a port, only that one.
    Host(String, Option<u16>),
    /// An address, or a network with the length of its prefix.
    Address(IpAddr, u8),
}

impl Proxies {
    /// What the variables say; `get` reads one.
    pub(super) fn of(get: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let set = |name: &'static str| get(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value));
        let all = || set("all_proxy").or_else(|| set("ALL_PROXY"));
        let of = |found: Option<(&'static str, String)>| found.map(|(name, value)| proxy(name, &value)).transpose();
        let without = set("no_proxy").or_else(|| set("NO_PROXY")).map(|(_, value)| value).unwrap_or_default();
        Proxies {
            http: of(set("http_proxy").or_else(all)),
            https: of(set("https_proxy").or_else(|| set("HTTPS_PROXY")).or_else(all)),
            without: entries(&without),
        }
    }

    /// Is this URL reached without a proxy?
    pub(super) fn bypass(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let own = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        uri.host()
            .is_some_and(|host| self.without.iter().any(|entry| entry.matches(host, uri.port_u16().unwrap_or(own))))
    }
}

/// The proxy at an address.
fn proxy(name: &str, value: &str) -> Result<Proxy> {
    let hint = "write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT";
    let proxy =
        Proxy::new(value.trim()).map_err(|_| unusable(name, "is set, but is not the address of a proxy", hint))?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        // ureq would connect without it.
        _ => Err(unusable(name, "names a SOCKS proxy, which dripfeed does not support", hint)),
    }
}

/// The entries of `NO_PROXY`: separated by commas or spaces.
fn entries(text: &str) -> Vec<Entry> {
    // As for curl, an asterisk counts only if it stands alone.
    if text.trim() == "*" {
        return vec![Entry::Every];
    }
    text.split([',', ' ', '\t']).filter_map(entry).collect()
}

fn entry(text: &str) -> Option<Entry> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    if let Some(address) = address_of(address) {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok().filter(|prefix| *prefix <= most))?;
        return Some(Entry::Address(address, prefix));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let host = host.strip_prefix('.').unwrap_or(host).trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(Entry::Host(host, port))
}

/// An address, also as it stands in a URL, in brackets.
fn address_of(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

impl Entry {
    fn matches(&self, host: &str, port: u16) -> bool {
        match self {
            Entry::Every => true,
            Entry::Address(network, prefix) => address_of(host).is_some_and(|at| is_within(at, *network, *prefix)),
            Entry::Host(name, only) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let above = host.strip_suffix(name.as_str());
                only.is_none_or(|only| only == port)
                    && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        }
    }
}

/// Is an address in the network?
fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            u32::from(prefix) == 0 || (a.to_bits() ^ n.to_bits()) >> (32 - u32::from(prefix)) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            u32::from(prefix) == 0 || (a.to_bits() ^ n.to_bits()) >> (128 - u32::from(prefix)) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Proxies {
        let variables: Vec<(String, String)> = variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Proxies::of(&|name| variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    }

    fn hosts(variables: &[(&str, &str)]) -> (String, String) {
        let proxies = of(variables);
        let host = |proxy: &Result<Option<Proxy>>| match proxy {
            Ok(Some(proxy)) => proxy.host().to_owned(),
            Ok(None) => "-".to_owned(),
            Err(fault) => fault.message.clone(),
        };
        (host(&proxies.http), host(&proxies.https))
    }

    /// Each row is what curl 7.88 does.
    #[test]
    fn each_scheme_has_its_own_proxy() {
        for (variables, http, https) in [
            (&[("HTTPS_PROXY", "http://s:1")][..], "-", "s"),
            (&[("https_proxy", "http://s:1")], "-", "s"),
            (&[("http_proxy", "http://p:1")], "p", "-"),
            (&[("HTTP_PROXY", "http://p:1")], "-", "-"),
            (&[("ALL_PROXY", "http://a:1")], "a", "a"),
            (&[("all_proxy", "http://a:1"), ("ALL_PROXY", "http://b:1")], "a", "a"),
            (&[("ALL_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://s:1"), ("http_proxy", "http://p:1")], "p", "s"),
            (&[("https_proxy", "http://l:1"), ("HTTPS_PROXY", "http://u:1")], "-", "l"),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://u:1")], "-", "u"),
            (&[("HTTPS_PROXY", "s:1"), ("http_proxy", "")], "-", "s"),
        ] {
            assert_eq!(hosts(variables), (http.to_owned(), https.to_owned()), "{variables:?}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_named_and_never_shown() {
        let (http, https) =
            hosts(&[("HTTPS_PROXY", "http://user:geheim@"), ("http_proxy", "socks5h://user:geheim@p:1")]);
        assert_eq!(https, "HTTPS_PROXY is set, but is not the address of a proxy");
        assert_eq!(http, "http_proxy names a SOCKS proxy, which dripfeed does not support");
    }

    /// `tests/e2e/proxy.py` asks curl the same.
    #[test]
    fn no_proxy_names_hosts_networks_and_ports() {
        for (without, url, bypassed) in [
            ("example.com", "https://example.com/", true),
            ("example.com", "https://api.example.com:8443/v1", true),
            ("example.com", "https://notexample.com/", false),
            ("example.com", "https://example.com.org/", false),
            (".example.com", "https://example.com/", true),
            (".example.com", "https://a.b.example.com/", true),
            ("EXAMPLE.com.", "https://API.example.COM./", true),
            ("example.com,other.org", "https://other.org/", true),
            ("example.com other.org", "https://other.org/", true),
            ("example.com , other.org", "https://other.org/", true),
            ("*", "https://anything.org/", true),
            (" * ", "https://anything.org/", true),
            ("*,example.com", "https://anything.org/", false),
            ("*.example.com", "https://api.example.com/", false),
            ("192.168.0.0/16", "http://192.168.7.9/", true),
            ("192.168.0.0/16", "http://192.169.7.9/", false),
            ("10.0.0.0/9", "http://10.127.0.1:8080/", true),
            ("10.0.0.0/9", "http://10.128.0.1/", false),
            ("10.0.0.1", "http://10.0.0.1/", true),
            ("10.0.0.1", "http://10.0.0.11/", false),
            ("10.0.0.0/33", "http://10.0.0.0/", false),
            ("2001:db8::/32", "http://[2001:db8:1::5]/", true),
            ("2001:db8::/32", "http://[2001:db9::5]/", false),
            ("[::1]", "http://[::1]:9/", true),
            ("example.com:8443", "https://api.example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("", "https://example.com/", false),
            (",,.", "https://example.com/", false),
        ] {
            assert_eq!(of(&[("NO_PROXY", without)]).bypass(url), bypassed, "{without} and {url}");
        }
        assert!(of(&[("no_proxy", "a.org"), ("NO_PROXY", "b.org")]).bypass("https://a.org"));
        assert!(!of(&[("no_proxy", "a.org"), ("NO_PROXY", "b.org")]).bypass("https://b.org"));
    }
}
