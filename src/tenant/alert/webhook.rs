//! Calls a webhook: signed, retried, with a short time limit.
//!
//! Input: an [`AlertBody`], and the time that is left. Output: a POST with a signature over its time and body. Called
//! by [`super::AlertSender`], on a separate thread. Error messages omit the URL, which may itself be a secret.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::OffsetDateTime;
use ureq::http::Uri;

use super::body::AlertBody;
use crate::base::config::{Alert, Tls};
use crate::base::fault::Result as Checked;
use crate::base::http::{HostFrom, HttpClient, Network};
use crate::base::timefmt::rfc3339;

/// The maximum number of attempts in a run.
const TRIES: u32 = 3;
/// The timeout of one attempt.
const TRY_WITHIN: Duration = Duration::from_secs(3);
/// The timeout of connecting.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The pause after the first attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// A tenant's webhook.
pub(super) struct Webhook {
    client: Checked<HttpClient>,
    url: String,
    secret: Option<String>,
}

impl Webhook {
    /// `ca_file` is that of the config's `tls`; the client's certificate is for the vendor alone.
    pub(super) fn new(config: &Alert, ca_file: Option<&str>) -> Webhook {
        let tls = Tls { ca_file: ca_file.map(str::to_owned), ..Tls::default() };
        let client = HttpClient::new(&Network { tls, ..Network::default() }, |settings| {
            settings
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_connect(Some(CONNECT_WITHIN))
        });
        Webhook { client, url: config.webhook.clone(), secret: config.secret.clone() }
    }

    /// Sends the alert, with a few attempts while time is left; returns the error as text.
    pub(super) fn send(&self, body: &AlertBody, left: &dyn Fn() -> Duration) -> Result<(), String> {
        let agent =
            self.client.as_ref().map_err(Clone::clone).and_then(|client| client.agent(&self.url, HostFrom::User));
        let agent = agent.map_err(|fault| format!("{} is not called: {}", self.host(), fault.message))?;
        let mut why = "there was no time to send it".to_owned();
        for number in 0..TRIES {
            let time = left().min(TRY_WITHIN);
            if time.is_zero() {
                break;
            }
            match self.call(agent, body, time) {
                Ok(200..=299) => return Ok(()),
                Ok(status) => {
                    why = format!("{} responded with HTTP {status}", self.host());
                    // A retry would get the same answer.
                    if (300..500).contains(&status) && ![408, 429].contains(&status) {
                        break;
                    }
                }
                Err(error) => why = format!("{} {}", self.host(), reason(&error)),
            }
            if number + 1 < TRIES {
                std::thread::sleep((PAUSE * 2u32.pow(number)).min(left()));
            }
        }
        Err(why)
    }

    fn call(&self, agent: &ureq::Agent, body: &AlertBody, time: Duration) -> Result<u16, ureq::Error> {
        let now = OffsetDateTime::now_utc();
        let mut json = serde_json::to_value(body).unwrap_or_default();
        json["sent_at"] = rfc3339(now).into();
        let text = json.to_string();
        let request = agent.post(&self.url).config().timeout_global(Some(time)).build();
        let request = request.header("Content-Type", "application/json").header("Idempotency-Key", body.key());
        let request = match self.secret.as_deref().and_then(|secret| sign(secret, now.unix_timestamp(), &text)) {
            Some(signature) => request.header("Dripfeed-Signature", signature),
            None => request,
        };
        request.send(text.as_bytes()).map(|answer| answer.status().as_u16())
    }

    /// Only the host: for some webhooks the URL is the secret.
    fn host(&self) -> String {
        let uri: Option<Uri> = self.url.parse().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
        format!("the webhook at {host}")
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook(…)")
    }
}

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over `<unix seconds>.<body>`.
fn sign(secret: &str, seconds: i64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{seconds}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    Some(format!("t={seconds},v1={hex}"))
}

/// The error without the URL.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "did not respond in time".to_owned(),
        ureq::Error::HostNotFound => "has a host name that does not resolve".to_owned(),
        ureq::Error::Io(error) => format!("cannot be reached: {}", error.kind()),
        _ => "cannot be reached".to_owned(),
    }
}
