//! One exchange with the vendor: sends a request and reads the whole response.
//!
//! Input: a [`PreparedRequest`], and the file for a large body. Output: a [`Reply`], or a [`Trouble`] that states
//! whether a retry may work. Called by [`super::attempts`]. Redirects are not followed here.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::http::request::Builder;
use ureq::http::{Request, Response};
use ureq::{AsSendBody, Body};

use super::request::PreparedRequest;
use super::{BodyEnd, Limits, Reply, shown};
use crate::base::fault::{self, Fault, Kind};
use crate::base::http::{HostFrom, HttpClient, connection, is_refusal};
use crate::base::stop::Stop;

/// The default connect timeout.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The default timeout for the start of a response.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The timeout for the body of a page.
const PAGE_WITHIN: Duration = Duration::from_secs(300);
/// The timeout for the body of a file.
const FILE_WITHIN: Duration = Duration::from_secs(6 * 60 * 60);
/// What is kept of the body of an error, in bytes: it is parsed for its text, which takes fifty times as much.
const MAX_ERROR: u64 = 256 << 10;
/// A body may be slow for this long before [`MIN_RATE`] counts.
const SLOW_FOR: Duration = Duration::from_secs(20);
/// The slowest body of a page, in bytes a second since its start: one that trickles holds a thread and a connection.
const MIN_RATE: u64 = 64;
/// The number of idle connections kept open: one for each thread that may read.
const CONNECTIONS: usize = 64;
/// The buffer of each connection for what is received, in bytes: a page or two.
const INPUT: usize = 64 << 10;
/// The buffer of each connection for what is sent, in bytes: most requests are a few hundred.
const OUTPUT: usize = 16 << 10;
/// The most memory reserved because of a `Content-Length`, in bytes.
const MAX_RESERVED: u64 = 4 << 20;
/// The first buffer for a body of unknown size, in bytes.
const FIRST_READ: u64 = 16 << 10;
/// Larger buffers are not kept, in bytes.
const MAX_SPARE: usize = 1 << 20;
/// The part of a file that is held in memory, in bytes.
const PIECE: usize = 256 << 10;

/// The HTTP client of a run.
pub(super) struct Transport {
    client: HttpClient,
    /// The largest body after decompression, in bytes.
    max_page_bytes: u64,
    /// Buffers of bodies that are no longer needed.
    spare: Mutex<Vec<Vec<u8>>>,
    stop: Arc<Stop>,
}

/// The timeouts of one exchange.
struct Timeouts {
    connect: Option<Duration>,
    answer: Option<Duration>,
    body: Option<Duration>,
}

impl Transport {
    /// A client with these limits.
    pub(super) fn new(limits: &Limits, stop: Arc<Stop>) -> fault::Result<Transport> {
        let client = HttpClient::new(&limits.network, |config| {
            config
                .http_status_as_error(false)
                .max_redirects(0)
                .max_idle_connections(CONNECTIONS)
                .max_idle_connections_per_host(CONNECTIONS)
                .max_redirects_will_error(false)
                .input_buffer_size(INPUT)
                .output_buffer_size(OUTPUT)
                .timeout_connect(Some(CONNECT_WITHIN))
                .timeout_recv_response(Some(ANSWER_WITHIN))
                .timeout_recv_body(Some(PAGE_WITHIN))
        })?;
        Ok(Transport { client, max_page_bytes: limits.max_page_bytes, spare: Mutex::default(), stop })
    }

    /// Keeps the buffer of a body that is no longer needed, unless it is large.
    pub(super) fn reuse(&self, body: Vec<u8>) {
        let mut spare = self.spare.lock();
        if body.capacity() <= MAX_SPARE && spare.len() < CONNECTIONS {
            spare.push(body);
        }
    }

    /// Sends a request and reads the response; the large body of a successful response goes into `file`, if given.
    pub(super) fn exchange(&self, request: &PreparedRequest, file: Option<&File>) -> Result<Reply, Trouble> {
        let started = Instant::now();
        connection::broke_off();
        let body_within = if file.is_some() { FILE_WITHIN } else { PAGE_WITHIN };
        let mut response = self.send(request, body_within)?;
        if response.status() == 407 {
            return Err(Trouble::Final(refused_by_proxy(self.client.proxy_of(&request.url), request)));
        }
        // Small bodies and errors are evaluated like any page.
        let into = file.filter(|_| response.status().is_success());
        let (mut body, filed) = self.read(&mut response, into, request)?;
        // A byte order mark is not part of the JSON.
        if file.is_none() && body.starts_with(b"\xef\xbb\xbf") {
            body.drain(..3);
        }
        let (status, headers, took) = (response.status().as_u16(), response.headers().clone(), started.elapsed());
        let known = ["content-length", "transfer-encoding", "content-encoding"];
        let end = if status == 204 || known.iter().any(|name| headers.contains_key(*name)) {
            BodyEnd::Known
        } else if connection::broke_off() {
            BodyEnd::BrokenOff
        } else {
            BodyEnd::Connection
        };
        if file.is_some() && end == BodyEnd::BrokenOff {
            let message = "the response ended without a sign that it was complete".to_owned();
            return Err(Trouble::Passing { message, reached: true, unknown_host: false, too_slow: false });
        }
        let url = request.url.clone();
        Ok(Reply { status, headers, body, took, url, embedded: false, filed, error: None, end })
    }

    /// Sends a request; returns the response with an unread body.
    fn send(&self, request: &PreparedRequest, body_within: Duration) -> Result<Response<Body>, Trouble> {
        let times = Timeouts {
            connect: Some(request.connect_within.unwrap_or(CONNECT_WITHIN)),
            answer: Some(request.answer_within.unwrap_or(ANSWER_WITHIN)),
            body: Some(body_within),
        };
        let builder = with_headers(request)?;
        let host = if request.free { HostFrom::Data } else { HostFrom::User };
        let agent = self.client.agent(&request.url, host).map_err(Trouble::Final)?;
        let bad = |e: ureq::http::Error| {
            Trouble::Final(Fault::data(format!("cannot send the request: {e} ({})", shown(request))))
        };
        let sent = match &request.body {
            Some(body) if request.method == "GET" => {
                // A GET may have a body (search APIs); ureq sends it only on demand.
                let built = builder.body(()).map_err(bad)?;
                let mut get = agent.get(&request.url);
                if let Some(headers) = get.headers_mut() {
                    *headers = built.headers().clone();
                }
                let config = get.config().timeout_connect(times.connect).timeout_recv_response(times.answer);
                config.timeout_recv_body(times.body).build().force_send_body().send(body.bytes.as_slice())
            }
            Some(body) => run(agent, builder.body(body.bytes.as_slice()).map_err(bad)?, &times),
            // All other methods declare an empty body.
            None if !matches!(&*request.method, "GET" | "HEAD") => {
                run(agent, builder.body(&[][..]).map_err(bad)?, &times)
            }
            None => run(agent, builder.body(()).map_err(bad)?, &times),
        };
        sent.map_err(|e| trouble(&e, request, self.client.proxy_of(&request.url)))
    }

    /// Reads a body: returns its bytes, or the size of what was written to the file.
    fn read(
        &self,
        response: &mut Response<Body>,
        file: Option<&File>,
        request: &PreparedRequest,
    ) -> Result<(Vec<u8>, Option<u64>), Trouble> {
        let is_error = response.status().as_u16() >= 400;
        let limit = match (file, is_error) {
            (Some(_), _) => self.max_page_bytes.min(MAX_RESERVED),
            (None, true) => self.max_page_bytes.min(MAX_ERROR),
            (None, false) => self.max_page_bytes,
        };
        let length = response.headers().get("content-length").and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        let compressed = response.headers().contains_key("content-encoding");
        // One byte more than expected, so that the end is detected without reallocation.
        let expected = length.filter(|_| !compressed).map_or(FIRST_READ, |l| l.min(limit).min(MAX_RESERVED) + 1);
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        let mut body = self.spare.lock().pop().unwrap_or_default();
        body.resize(body.len().max(usize::try_from(expected).unwrap_or(0)), 0);
        let size = read_up_to(&mut reader, &mut body, most).map_err(|e| broke_off(&e))?;
        body.truncate(size);
        if is_error && file.is_none() {
            body.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if body.len() as u64 <= limit {
            return Ok((body, None));
        }
        if let Some(file) = file {
            return Ok((Vec::new(), Some(self.file_away(body, &mut reader, file)?)));
        }
        Err(Trouble::Final(
            Fault::data(format!("the page is larger than {limit} bytes ({})", shown(request)))
                .hint("request smaller pages, or raise dripfeed.max_page_bytes"),
        ))
    }

    /// Writes the bytes read so far and the rest of a response into a file, from its start; returns the size.
    fn file_away(&self, read: Vec<u8>, rest: &mut impl Read, mut file: &File) -> Result<u64, Trouble> {
        let failed = |e: std::io::Error| Trouble::Final(Fault::local("cannot write a file of a record", &e));
        file.rewind().and_then(|()| file.set_len(0)).map_err(failed)?;
        let (mut piece, mut end, mut size) = (read, false, 0);
        while !end {
            self.stop.check().map_err(Trouble::Final)?;
            file.write_all(&piece).map_err(failed)?;
            size += piece.len() as u64;
            piece.resize(PIECE, 0);
            let read = loop {
                match rest.read(&mut piece) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    other => break other.map_err(|e| broke_off(&e))?,
                }
            };
            piece.truncate(read);
            end = read == 0;
        }
        Ok(size)
    }
}

fn run(
    agent: &ureq::Agent,
    request: Request<impl AsSendBody>,
    times: &Timeouts,
) -> Result<Response<Body>, ureq::Error> {
    let config = agent.configure_request(request).timeout_connect(times.connect);
    agent.run(config.timeout_recv_response(times.answer).timeout_recv_body(times.body).build())
}

/// Reads to the end, or `most` bytes, into a buffer that grows; returns the number of bytes. (`Read::read_to_end` would
/// clear the rest of the buffer before each read from a reader such as this one.)
fn read_up_to(reader: &mut impl Read, body: &mut Vec<u8>, most: usize) -> std::io::Result<usize> {
    let (mut size, started) = (0, Instant::now());
    while size < most {
        if size == body.len() {
            body.resize(body.len().saturating_mul(2), 0);
        }
        let end = body.len().min(most);
        match reader.read(&mut body[size..end]) {
            Ok(0) => break,
            Ok(read) => size += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        let took = started.elapsed();
        if took > SLOW_FOR && (size as u64) < MIN_RATE.saturating_mul(took.as_secs()) {
            return Err(std::io::Error::new(ErrorKind::TimedOut, TOO_SLOW));
        }
    }
    Ok(size)
}

/// The error of a body below [`MIN_RATE`].
const TOO_SLOW: &str = "it brings less than 64 bytes a second";

/// Method, URL and headers of a request, for the HTTP library.
fn with_headers(request: &PreparedRequest) -> Result<Builder, Trouble> {
    let mut builder = Request::builder().method(request.method.as_str()).uri(&request.url);
    for (name, value) in &request.headers {
        if !value.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\t') {
            let text = format!("the header `{name}` has characters that no header can contain ({})", shown(request));
            let hint = "check the value in the config for a line break or an accented letter";
            return Err(Trouble::Final(Fault::data(text).hint(hint)));
        }
        builder = builder.header(name, value);
    }
    if let Some(content_type) = request.body.as_ref().and_then(|b| b.content_type)
        && !request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type"))
    {
        builder = builder.header("Content-Type", content_type);
    }
    Ok(builder)
}

/// Why an exchange produced no response.
pub(super) enum Trouble {
    /// Transient; if it persists, the vendor counts as down.
    Passing {
        /// What happened.
        message: String,
        /// Did the vendor respond at all?
        reached: bool,
        /// Has the host no address?
        unknown_host: bool,
        /// Was the body too slow? Each try costs [`SLOW_FOR`].
        too_slow: bool,
    },
    /// Permanent.
    Final(Fault),
}

fn broke_off(error: &std::io::Error) -> Trouble {
    let too_slow = error.kind() == ErrorKind::TimedOut && error.to_string() == TOO_SLOW;
    Trouble::Passing {
        message: format!("the response broke off: {error}"),
        reached: true,
        unknown_host: false,
        too_slow,
    }
}

fn trouble(error: &ureq::Error, request: &PreparedRequest, proxy: Option<String>) -> Trouble {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Trouble::Final(Fault::data(format!("cannot send the request: {error} ({})", shown(request))))
        }
        error if is_refusal(error) => {
            let text = format!("the host of a request leads to a private address ({})", shown(request));
            // A host of the vendor's data is no fault of the config.
            let fault = if request.free { Fault::data(text) } else { Fault::config(text) };
            Trouble::Final(fault.hint("if this is right, add the host to dripfeed.allowed_hosts in the config"))
        }
        // A tunnel is refused by the proxy alone; some say 401 where 407 is meant.
        ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") || reason.contains("401") => {
            Trouble::Final(refused_by_proxy(proxy, request))
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            Trouble::Final(tls_failed(error, request))
        }
        ureq::Error::Io(e) if fails_again(e) => Trouble::Final(tls_failed(e, request)),
        other => {
            let way = proxy.map(|proxy| format!(" (through the proxy {proxy})")).unwrap_or_default();
            let unknown_host = match other {
                ureq::Error::HostNotFound => true,
                ureq::Error::Io(e) => e.to_string().starts_with(LOOKUP_FAILED),
                _ => false,
            };
            let message = match other {
                ureq::Error::Io(e) => e.to_string(),
                other => other.to_string(),
            };
            Trouble::Passing { message: format!("{message}{way}"), reached: false, unknown_host, too_slow: false }
        }
    }
}

/// The start of the error of a name lookup, in Rust's standard library.
const LOOKUP_FAILED: &str = "failed to lookup address information";

/// Is this a TLS error that will recur? A bad certificate or protocol version will not change; an alert in the middle
/// of a connection may not recur.
fn fails_again(error: &std::io::Error) -> bool {
    const STAYS: [&str; 16] = [
        "certificate",
        "CertificateRequired",
        "BadCertificate",
        "peer is incompatible",
        "peer misbehaved",
        "corrupt message",
        "known protocol",
        "server name type",
        "ProtocolVersion",
        "HandshakeFailure",
        "InsufficientSecurity",
        "InappropriateFallback",
        "UnrecognizedName",
        "UnrecognisedName",
        "AccessDenied",
        "UnknownCA",
    ];
    let text = error.to_string();
    // Errors of the TLS library have these kinds.
    let of_tls = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::Other) || text.contains("certificate");
    of_tls && STAYS.iter().any(|stays| text.contains(stays))
}

fn tls_failed(error: &dyn std::fmt::Display, request: &PreparedRequest) -> Fault {
    let text = error.to_string();
    let fault = Fault::new(Kind::Unavailable, format!("TLS with the vendor failed: {text} ({})", shown(request)));
    let of_server = text.contains("received fatal alert");
    fault.hint(if of_server && ["Certificate", "UnknownCA", "AccessDenied"].iter().any(|word| text.contains(word)) {
        "the server requires a client certificate that it trusts: set dripfeed.tls.client_cert"
    } else if text.to_lowercase().contains("certificate") {
        "set dripfeed.tls.ca_file to trust a company's own CA too"
    } else if text.contains("HandshakeFailure") {
        "the server must speak TLS 1.2 or 1.3 at this address; if it requires a client certificate, set \
         dripfeed.tls.client_cert"
    } else {
        "the server must speak TLS 1.2 or 1.3 at this address"
    })
}

/// The fault for a proxy that requires credentials.
fn refused_by_proxy(proxy: Option<String>, request: &PreparedRequest) -> Fault {
    let proxy = proxy.map_or_else(|| "a proxy on the way".to_owned(), |proxy| format!("the proxy {proxy}"));
    Fault::new(Kind::Auth, format!("{proxy} requires a user and a password (HTTP 407, {})", shown(request)))
        .hint("set them in HTTPS_PROXY or http_proxy, as http://USER:PASSWORD@HOST:PORT")
}
