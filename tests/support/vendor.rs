//! A vendor made of routes: answers what a `server.json` says, and remembers what it was asked.
//!
//! The format is that of `fixtures/oracle/record.py`: the first matching route answers; its replies are served in
//! order, the last one again and again; `@url@` stands for the vendor's own address.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HashMap<String, String>,
    pub body: String,
    /// When it was read.
    pub at: Instant,
}

pub struct Vendor {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: Arc<AtomicBool>,
}

impl Drop for Vendor {
    /// Gives the port back: a test that runs hundreds of cases has not that many files to open.
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// Answers a request with a reply as in a `server.json`.
type Answer = Box<dyn Fn(&Asked) -> Json + Send + Sync>;

struct Inner {
    routes: Vec<Json>,
    answer: Option<Answer>,
    served: Mutex<Vec<usize>>,
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Vendor {
    /// Serves the routes until it is dropped.
    pub fn start(server: &Json) -> Vendor {
        Self::serve(server["routes"].as_array().unwrap().clone(), None)
    }

    /// A vendor that thinks about each request.
    pub fn answering(answer: impl Fn(&Asked) -> Json + Send + Sync + 'static) -> Vendor {
        Self::serve(Vec::new(), Some(Box::new(answer)))
    }

    fn serve(routes: Vec<Json>, answer: Option<Answer>) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let served = Mutex::new(vec![0; routes.len()]);
        let inner = Arc::new(Inner { routes, answer, served, url: url.clone(), asked: asked.clone() });
        let closed = Arc::new(AtomicBool::new(false));
        let ended = closed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let inner = inner.clone();
                std::thread::spawn(move || {
                    let _ = inner.connection(&stream);
                });
            }
        });
        Vendor { url, asked, closed }
    }

    /// A vendor with one route, `/items`, that gives these replies.
    pub fn of_items(replies: Json) -> Vendor {
        Vendor::start(&json!({"routes": [{"path": "/items", "replies": replies}]}))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asked {
    /// A parameter of the query.
    pub fn param(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| decode(value))
    }
}

impl Inner {
    fn connection(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut out = stream;
        while let Some(asked) = read(&mut reader)? {
            let reply = self.reply(&asked);
            self.asked.lock().unwrap().push(asked);
            let Some(reply) = reply else {
                out.write_all(&bytes(
                    "404 Not Found",
                    "Content-Type: application/json\r\n",
                    b"{\"error\": \"no route\"}",
                ))?;
                continue;
            };
            if let Some(pause) = reply["pause_ms"].as_u64() {
                std::thread::sleep(Duration::from_millis(pause));
            }
            let coded = reply["base64"].as_str().map(|text| STANDARD.decode(text).unwrap());
            let (body, mut headers) = match (&reply["json"], reply["text"].as_str(), reply["hex"].as_str()) {
                (Json::Null, Some(text), _) => (self.own(text).into_bytes(), String::new()),
                (Json::Null, None, Some(hex)) => {
                    let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
                    (bytes.collect(), String::new())
                }
                (Json::Null, None, None) if coded.is_some() => (coded.unwrap(), String::new()),
                (Json::Null, None, None) => (vec![b' '; reply["blanks"].as_u64().unwrap_or(0) as usize], String::new()),
                (json, _, _) => {
                    (self.own(&json.to_string()).into_bytes(), "Content-Type: application/json\r\n".to_owned())
                }
            };
            for (name, value) in reply["headers"].as_object().into_iter().flatten() {
                headers += &format!("{name}: {}\r\n", self.own(value.as_str().unwrap()));
            }
            let status = format!("{} Status", reply["status"]);
            let whole = bytes(&status, &headers, &body);
            if let Some(cut) = reply["cut"].as_u64() {
                out.write_all(&whole[..whole.len() - cut as usize])?;
                return Ok(());
            }
            out.write_all(&whole)?;
        }
        Ok(())
    }

    fn own(&self, text: &str) -> String {
        text.replace("@url@", &self.url)
    }

    fn reply(&self, asked: &Asked) -> Option<Json> {
        if let Some(answer) = &self.answer {
            return Some(answer(asked));
        }
        let at = self.routes.iter().position(|route| matches(route, asked))?;
        let replies = self.routes[at]["replies"].as_array().unwrap();
        let mut served = self.served.lock().unwrap();
        let reply = &replies[served[at].min(replies.len() - 1)];
        served[at] += 1;
        Some(reply.clone())
    }
}

fn bytes(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

fn matches(route: &Json, asked: &Asked) -> bool {
    let method = route["method"].as_str().unwrap_or("GET");
    let query: Vec<(String, String)> = asked
        .query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect();
    let first = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    asked.method == method
        && asked.path == route["path"].as_str().unwrap()
        && route["query"].as_object().into_iter().flatten().all(|(name, value)| first(name) == value.as_str())
        && route["body_contains"].as_str().is_none_or(|part| asked.body.contains(part))
        && route["header"].as_object().is_none_or(|h| {
            // {"name": …, "value": …}, or {name: value}.
            let pair = h.get("name").and_then(Json::as_str).zip(h.get("value").and_then(Json::as_str));
            let pairs: Vec<(&str, &str)> = pair
                .map_or_else(|| h.iter().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))).collect(), |p| vec![p]);
            pairs.iter().all(|(k, v)| asked.headers.get(&k.to_lowercase()).map(String::as_str) == Some(v))
        })
}

fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap_or("").to_owned(), parts.next().unwrap_or("/").to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if headers.get("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Ok(Some(Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        at: Instant::now(),
    }))
}

pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match (bytes[i], text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(b)) => {
                out.push(b);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (b, _) => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
