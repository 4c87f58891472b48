//! The sandbox's rate limits: how a vendor counts calls.
//!
//! Input: the calls of a tenant. Output: whether a call is served, and the response headers. Called by
//! [`super::server`].

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A limit on each tenant's calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cap {
    calls: u64,
    per: Duration,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Fixed windows: each starts with the first call after the previous one.
    Fixed,
    /// A sliding window.
    Window,
    /// A bucket with this capacity.
    Bucket(f64),
}

/// A tenant's usage of its limit.
#[derive(Debug, Default)]
pub(super) struct Used {
    recent: VecDeque<Instant>,
    window: Option<(Instant, u64)>,
    bucket: Option<(Instant, f64)>,
}

impl Cap {
    /// Parses `25/1:bucket:10`.
    pub fn parse(text: &str) -> anyhow::Result<Cap> {
        let mut parts = text.split(':');
        let rate = parts.next().and_then(|rate| rate.split_once('/')).context("write it as CALLS/SECONDS")?;
        let calls = rate.0.parse().ok().filter(|n| *n > 0).context("CALLS must be an integer of 1 or more")?;
        let per = rate.1.parse().ok().filter(|n| *n > 0.0 && *n < 1e6).map(Duration::from_secs_f64);
        let per = per.context("SECONDS must be a number above 0")?;
        let kind = match (parts.next(), parts.next()) {
            (None | Some("fixed"), None) => Kind::Fixed,
            (Some("window"), None) => Kind::Window,
            #[allow(clippy::cast_precision_loss)]
            (Some("bucket"), None) => Kind::Bucket(calls as f64),
            (Some("bucket"), Some(burst)) => {
                Kind::Bucket(burst.parse().ok().filter(|n| *n >= 1.0).context("BURST must be an integer of 1 or more")?)
            }
            _ => bail!("the kind must be fixed, window or bucket"),
        };
        Ok(Cap { calls, per, kind })
    }

    /// Counts a call: returns the headers of its response, or of its rejection.
    pub(super) fn count(&self, used: &mut Used) -> Result<String, String> {
        let now = Instant::now();
        let retry = |wait: Duration| Err(format!("Retry-After: {}\r\n", wait.as_secs_f64().ceil().max(1.0)));
        match self.kind {
            Kind::Fixed => {
                let window = used.window.get_or_insert((now, 0));
                if window.0.elapsed() >= self.per {
                    *window = (now, 0);
                }
                window.1 += 1;
                let reset = self.per.saturating_sub(window.0.elapsed()).as_secs_f64().ceil().max(1.0);
                let left = self.calls.saturating_sub(window.1);
                let mut headers = format!("X-RateLimit-Limit: {}\r\n", self.calls);
                let _ = write!(headers, "X-RateLimit-Remaining: {left}\r\nX-RateLimit-Reset: {reset}\r\n");
                if window.1 > self.calls { Err(format!("Retry-After: {reset}\r\n{headers}")) } else { Ok(headers) }
            }
            Kind::Window => {
                while used.recent.front().is_some_and(|t| t.elapsed() >= self.per) {
                    used.recent.pop_front();
                }
                if (used.recent.len() as u64) < self.calls {
                    used.recent.push_back(now);
                    return Ok(String::new());
                }
                retry(used.recent.front().map_or(self.per, |t| self.per.saturating_sub(t.elapsed())))
            }
            Kind::Bucket(holds) => {
                #[allow(clippy::cast_precision_loss)]
                let rate = self.calls as f64 / self.per.as_secs_f64();
                let (at, tokens) = used.bucket.get_or_insert((now, holds));
                *tokens = (*tokens + now.duration_since(*at).as_secs_f64() * rate).min(holds);
                *at = now;
                if *tokens < 1.0 {
                    return retry(Duration::from_secs_f64((1.0 - *tokens) / rate));
                }
                *tokens -= 1.0;
                Ok(String::new())
            }
        }
    }
}
