//! Plain HTTP through a proxy: the proxy gets the request with the whole URL, as RFC 9112 §3.2.2 wants it.
//!
//! Input: what ureq would send to the server. Output: the same, with an absolute URL and the proxy's credentials.
//! Called by [`super`] as part of the agents that have a proxy. ureq itself would ask for a tunnel (CONNECT), which
//! proxies refuse for other ports than 443.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::uri::Authority;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, time::Instant,
};
use ureq::{Error, Proxy};

/// Connects `http://` requests to the proxy of their agent.
#[derive(Debug)]
pub(super) struct ForwardConnector {
    /// The settings for the connection to the proxy itself.
    without_proxy: Config,
}

impl ForwardConnector {
    pub(super) fn new(without_proxy: Config) -> ForwardConnector {
        ForwardConnector { without_proxy }
    }
}

/// A connection to a proxy that forwards requests.
#[derive(Debug)]
pub(super) struct Forward {
    inner: Box<dyn Transport>,
    /// Stands before the path: `http://host:port`.
    origin: String,
    /// The header with the proxy's credentials.
    credentials: String,
    /// Is the next output the head of a request?
    begins: bool,
}

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Either<In, Forward>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let proxy = details.config.proxy().filter(|_| !details.needs_tls());
        let (Some(proxy), None) = (proxy, &chained) else { return Ok(chained.map(Either::A)) };
        let addrs = details.resolver.resolve(proxy.uri(), &self.without_proxy, details.timeout)?;
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs,
            config: &self.without_proxy,
            request_level: details.request_level,
            resolver: details.resolver,
            now: Instant::now(),
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let inner = (details.run_connector)(&to_proxy)?;
        let authority = details.uri.authority().map(Authority::as_str).unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let origin = format!("http://{host}");
        Ok(Some(Either::B(Forward { inner, origin, credentials: credentials(proxy), begins: true })))
    }
}

fn credentials(proxy: &Proxy) -> String {
    let Some(user) = proxy.username() else { return String::new() };
    let encoded = BASE64_STANDARD.encode(format!("{user}:{}", proxy.password().unwrap_or_default()));
    format!("Proxy-Authorization: Basic {encoded}\r\n")
}

impl Forward {
    /// Writes the whole URL into the head of a request of `amount` bytes; returns its new size.
    fn rewrite(&mut self, amount: usize) -> Result<usize, Error> {
        let output = self.inner.buffers().output();
        let head = output.get(..amount).unwrap_or_default();
        let path = head.iter().position(|byte| *byte == b' ').map(|at| at + 1);
        let fields = head.windows(2).position(|two| two == b"\r\n").map(|at| at + 2);
        let (Some(path), Some(fields)) = (path, fields) else { return Ok(amount) };
        let (method, line, rest) = (&head[..path], &head[path..fields], &head[fields..]);
        let whole = [method, self.origin.as_bytes(), line, self.credentials.as_bytes(), rest].concat();
        let room = output.get_mut(..whole.len());
        room.ok_or(Error::Io(std::io::ErrorKind::OutOfMemory.into()))?.copy_from_slice(&whole);
        Ok(whole.len())
    }
}

impl Transport for Forward {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let amount = if std::mem::take(&mut self.begins) { self.rewrite(amount)? } else { amount };
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // A response is read only when its request is sent: what goes out next is another request.
        self.begins = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        // The TLS of a connection to an https:// proxy is not the server's.
        false
    }
}
