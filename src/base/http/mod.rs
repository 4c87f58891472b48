//! The HTTP client: which proxy a request goes through, whom TLS trusts, which certificate it shows.
//!
//! Input: the `tls` settings of a config, and the environment's proxies. Output: a ureq agent for a URL. Called by
//! `engine::fetch`, for everything that a vendor is asked, and by `tenant::alert`, for webhooks.

pub mod connection;
mod forward;
mod guard;
mod proxy;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, RustlsConnector, TcpConnector};
use ureq::{Agent, Proxy};

use self::connection::WatchedConnector;
use self::forward::ForwardConnector;
pub use self::guard::is_refusal;
use self::guard::{GuardedResolver, Rule};
use self::proxy::Proxies;
use crate::base::config::Tls;
use crate::base::fault::{Fault, Result};

/// How a run reaches servers.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Whom to trust, and which certificate to show.
    pub tls: Tls,
    /// The address of a server in this process, such as `http://127.0.0.1:8080`: no proxy can reach it.
    pub own_server: Option<String>,
    /// Where it is not empty, private addresses are reached only by hosts in it.
    pub allowed_hosts: Vec<String>,
}

/// Who decided which host a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFrom {
    /// The manifest or the config: the user's word.
    User,
    /// The vendor's data. A private address needs to be allowed.
    Data,
}

/// Agents by the proxy that they use. An agent keeps its connections open for later requests.
pub struct HttpClient {
    direct: Agent,
    /// For hosts of the vendor's data.
    of_data: Agent,
    http: Result<Option<Agent>>,
    https: Result<Option<Agent>>,
    proxies: Proxies,
    own_server: Option<String>,
}

impl HttpClient {
    /// A client; `settings` are those of every agent. It has a fault when a file of `tls` cannot be used. A proxy that
    /// cannot be used is a fault of the requests that need it.
    pub fn new(
        network: &Network,
        settings: impl Fn(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>,
    ) -> Result<HttpClient> {
        let tls = tls::config(&network.tls)?;
        let proxies = Proxies::of(&|name| std::env::var(name).ok());
        let through = |proxy: Option<&Proxy>| {
            let builder = settings(Agent::config_builder()).tls_config(tls.clone());
            builder.user_agent(concat!("dripfeed/", env!("CARGO_PKG_VERSION"))).proxy(proxy.cloned()).build()
        };
        let private = Arc::new(AtomicBool::new(false));
        let hosts = &network.allowed_hosts;
        let guarded = |rule: Rule| GuardedResolver { rule, own_server: network.own_server.clone() };
        let unguarded = || guarded(Rule::May(private.clone()));
        let of_user = if hosts.is_empty() { unguarded() } else { guarded(Rule::Listed(hosts.clone())) };
        let of_data = guarded(Rule::OfData(hosts.clone(), private.clone()));
        let of_scheme = |proxy: &Result<Option<Proxy>>| match proxy {
            Ok(proxy) => Ok(proxy.as_ref().map(|proxy| agent(through(Some(proxy)), through(None), unguarded()))),
            Err(fault) => Err(fault.clone()),
        };
        Ok(HttpClient {
            direct: agent(through(None), through(None), of_user),
            of_data: agent(through(None), through(None), of_data),
            http: of_scheme(&proxies.http),
            https: of_scheme(&proxies.https),
            proxies,
            own_server: network.own_server.clone(),
        })
    }

    /// The agent for a URL.
    pub fn agent(&self, url: &str, host: HostFrom) -> Result<&Agent> {
        let direct = match host {
            HostFrom::User => &self.direct,
            HostFrom::Data => &self.of_data,
        };
        match if is_https(url) { &self.https } else { &self.http } {
            // Most machines have no proxy.
            Ok(None) => Ok(direct),
            _ if self.is_direct(url) => Ok(direct),
            Ok(Some(agent)) => Ok(agent),
            Err(fault) => Err(fault.clone()),
        }
    }

    /// The proxy for a URL, without user and password.
    pub fn proxy_of(&self, url: &str) -> Option<String> {
        let of_scheme = if is_https(url) { &self.proxies.https } else { &self.proxies.http };
        let proxy = of_scheme.as_ref().ok()?.as_ref().filter(|_| !self.is_direct(url))?;
        let scheme = proxy.uri().scheme_str().unwrap_or("http");
        Some(format!("{scheme}://{}:{}", proxy.host(), proxy.port()))
    }

    fn is_direct(&self, url: &str) -> bool {
        let own = self.own_server.as_deref().and_then(|own| url.strip_prefix(own));
        own.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) || self.proxies.bypass(url)
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient(…)")
    }
}

/// An agent. `without_proxy` has the same settings: with them it connects to the proxy itself.
fn agent(config: Config, without_proxy: Config, resolver: GuardedResolver) -> Agent {
    let connector = ForwardConnector::new(without_proxy)
        .chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(RustlsConnector::default())
        .chain(WatchedConnector);
    Agent::with_parts(config, connector, resolver)
}

fn is_https(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// The fault of a setting: `name` is a key of the config or a variable, never its value.
fn unusable(name: &str, why: &str, hint: &str) -> Fault {
    Fault::config(format!("{name} {why}")).hint(hint)
}
