//! The identity of the account that owns a ledger.
//!
//! Input: the source, and the tenant's config with its schema. Output: a name for the ledger's file that reveals
//! nothing of them. Called by `run`. Two configs with the same credential share a ledger: the vendor counts per
//! account.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value as Json;
use sha2::Sha256;

use crate::base::config::secret::marked;

/// The account's identity: its name in the config, else the OAuth client with the refresh token from the config
/// (fetched tokens change), else every secret; if the schema marks none, the whole config.
pub fn identity(named: Option<&str>, config: &Json, schema: &Json) -> String {
    if let Some(name) = named {
        return format!("named {name}");
    }
    let secrets = marked(config, schema);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let oauth = secrets.iter().any(|(path, _)| last(path) == "refresh_token");
    let mut parts: Vec<String> = secrets
        .into_iter()
        .filter(|(path, _)| !oauth || matches!(last(path).as_str(), "refresh_token" | "client_id"))
        .map(|(path, text)| format!("{path}={text}"))
        .collect();
    parts.sort_unstable();
    parts.dedup();
    if parts.is_empty() { config.to_string() } else { parts.join("\n") }
}

/// The file name: an HMAC, so that it does not reveal a credential.
pub fn key(source: &str, identity: &str) -> String {
    let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(identity.as_bytes()) else { return String::new() };
    hmac.update(b"dripfeed ledger\0");
    hmac.update(source.as_bytes());
    hmac.finalize().into_bytes().iter().take(16).map(|b| format!("{b:02x}")).collect()
}
